"""Simulators that were not taught: any causal language model, shown worked examples (see `listing`)."""

import numpy as np
from actkit import Model
from runkit.errors import UsageError

from expgen.simulating import Asked
from expgen.simulating.listing import UNKNOWN, listing
from expgen.simulating.local import Encoded, Local
from expgen.simulating.spelling import Speller

_LEVELS = (10, 9)  # highest number asked for: 10 where it is one token


class Prompted(Local):
    """Reads the logits of the tokens 0 to 10 (or 9) where each unknown activation is about to be written."""

    def __init__(self, name: str, model: Model, batch_size: int) -> None:
        self._spell = Speller(model.tokenizer, name)
        levels = numbers(self._spell, name)
        self.top = len(levels) - 1
        super().__init__(name, model, levels, batch_size)

    def encode(self, asked: Asked) -> Encoded:
        """BOS where the tokenizer has one, then the listing. A token whose activation does not begin a new token of the
        model is not read.
        """
        prompt, starts, of = listing(asked.description, asked.text, self.top)
        ids, spans = self._spell(prompt)
        found = np.searchsorted(spans[:, 0], starts)
        clean = (found < len(spans)) & (spans[np.minimum(found, len(spans) - 1), 0] == starts)
        before = np.append(np.where(clean, found - 1 + len(self._spell.begin), -1), -1)
        return Encoded(self._spell.begin + ids, before[of])


def numbers(spell: Speller, name: str) -> list[int]:
    """The ids of 0, 1, ... to 10 or 9 as they stand after a tab.

    Raises:
        UsageError: they are not single tokens.
    """
    found = [_after_tab(spell, str(number)) for number in range(_LEVELS[0] + 1)]
    if _after_tab(spell, UNKNOWN, whole=False) is not None:
        for top in _LEVELS:
            ids = [each for each in found[: top + 1] if each is not None]
            if len(set(ids)) == top + 1:
                return ids
    raise UsageError(
        f"the tokenizer of {name} does not make one token each of the numbers 0 to 9 after a tab, so its logits "
        "cannot be read as activations: take another model, or teach this one with train-simulator"
    )


def _after_tab(spell: Speller, text: str, *, whole: bool = True) -> int | None:
    """The token that begins with `text` after a tab; None where it begins before, or (`whole`) does not end with it."""
    ids, spans = spell(f"a\t{text}\n")
    at = np.flatnonzero((spans[:, 0] == 2) & ((spans[:, 1] == 2 + len(text)) | (not whole)))
    return ids[int(at[0])] if len(at) else None
