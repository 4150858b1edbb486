"""The question to a language model that was not taught to simulate: a list of tokens whose activations are to be said.

All at once (Bills et al. 2023): two worked neurons, then the description and the text, a token to a line and a tab
before its activation, which is not told. What a model would write instead is read where each activation begins.
"""

import re
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from expgen.store import Text

UNKNOWN = "?"  # what common tokenizers never join to the tab before it, as they do with letters
_LEADING = """\
Single neurons of a language model fire at some tokens of a text and are silent at others. Below, each neuron has a
description of what it fires on, and a text with one token per line. After the token comes a tab, and then how strongly
the neuron fires there: a whole number from 0 (silent) to {top} (as strongly as it ever does). A neuron sees a token
and what stands before it, and nothing of what comes after. Where the activation is not known, it says {unknown}
"""
_WORKED = (
    (
        "names of fruit, most of all where they are something to eat",
        "We| planted| an| apple| tree| and| made| jam| of| plum|s| and| ripe| pears| .",
        (None, None, None, 6, 1, 0, 0, 2, 0, 9, 7, 0, 0, 10, 0),
    ),
    (
        "the number after a currency sign",
        "It| costs| $| 15| today|,| not| 20|:| save| $| 5| in| 3| days",
        (None, None, None, None, None, None, 0, 0, 0, 0, 1, 10, 0, 0, 0),
    ),
)
_SPECIAL = re.compile(r"<(?=[|/\w])(?=[^<>\s]*>)|\[(?=/?INST\])")
_FOLDED = {"\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


class Listing(NamedTuple):
    """A question. `starts`: the character where each unknown activation begins; `of` [T]: which of them is each
    subject token's; -1: it has none.
    """

    prompt: str
    starts: list[int]
    of: Int[np.ndarray, " T"]


def listing(description: str, text: Text, top: int) -> Listing:
    """Ask for whole numbers from 0 to `top`. Tokens that are pieces of one character share a line."""
    worked = [_worked(number, *each, top) for number, each in enumerate(_WORKED, start=1)]
    prompt = "\n".join([_LEADING.format(top=top, unknown=UNKNOWN), *worked, _head(len(_WORKED) + 1, description)])
    of = _lines(text.spans)
    starts: list[int] = []
    for number in range(of.max(initial=-1) + 1):
        start, end = text.spans[int(np.argmax(of == number))]
        prompt += f"{folded(text.text[start:end])}\t"
        starts.append(len(prompt))
        prompt += f"{UNKNOWN}\n"
    return Listing(prompt, starts, of)


def folded(text: str) -> str:
    """A text on one line, in which nothing is a tab or looks like a special token of some model's."""
    return _SPECIAL.sub(lambda match: match[0] + " ", "".join(_FOLDED.get(each, each) for each in text))


def _lines(spans: Int[np.ndarray, "T 2"]) -> Int[np.ndarray, " T"]:
    """The line of each token; -1 for those without characters."""
    spoken = spans[:, 1] > spans[:, 0]
    new = np.any(np.diff(spans[spoken], axis=0, prepend=-1), axis=1)
    lines = np.full(len(spans), -1)
    lines[spoken] = np.cumsum(new) - 1
    return lines


def _worked(number: int, description: str, tokens: str, activations: tuple[int | None, ...], top: int) -> str:
    told = [UNKNOWN if each is None else str(round(each * top / 10)) for each in activations]
    lines = [f"{token}\t{each}\n" for token, each in zip(tokens.split("|"), told, strict=True)]
    return _head(number, description) + "".join(lines)


def _head(number: int, description: str) -> str:
    return f"Neuron {number}\nDescription: {folded(description)}\nActivations:\n"
