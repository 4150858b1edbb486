"""The offline simulator: reads a description as a program would, and asks no model."""

import re
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float

from expgen.explaining import phrases
from expgen.explaining.evidence import slices
from expgen.simulating import Asked, Prediction, Simulator
from expgen.store import Text

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")


class Tokens(Simulator):
    """A description in the fixed form of `phrases` is followed to the letter; of free words, each that stands in the
    text is taken to fire. An empty description predicts nothing but zeros.
    """

    name = "tokens"

    def predict(self, asked: Sequence[Asked]) -> Iterator[Prediction]:
        """A prediction between 0 and 1 per token for each, in order; none fails."""
        return (Prediction(_predicted(each)) for each in asked)


def _predicted(asked: Asked) -> Float[np.ndarray, " T"]:
    text, phrase = asked.text, phrases.parse(asked.description)
    weights = _named(text, phrases.words_in(asked.description)) if phrase is None else phrase.weights(slices(text))
    silent = text.spans[:, 0] == text.spans[:, 1]
    return np.where(silent, np.nan, np.array(weights, dtype=float))


def _named(text: Text, wanted: set[str]) -> list[float]:
    """1 at the tokens that are one of these words, or a piece of one."""
    if not wanted:
        return [0.0] * len(text.spans)
    named = {match.span() for match in _WORD.finditer(text.text) if match[0].lower() in wanted}
    inside = np.zeros(len(text.text) + 1, dtype=bool)
    for start, end in named:
        inside[start:end] = True
    return [float(_says(text.text[a:b], wanted) or inside[a:b].any()) for a, b in text.spans]


def _says(word: str, wanted: set[str]) -> bool:
    return word.strip().lower() in wanted
