"""Which token of one tokenizer answers for which token of another, by the characters they stand for."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int


class Alignment(NamedTuple):
    """From subject tokens to simulator tokens.

    `to` [T]: number of the simulator token that answers for each subject token; -1 where none does. `spoken` [T]: the
    subject token stands for characters at all (BOS and the like do not).
    """

    to: Int[np.ndarray, " T"]
    spoken: Bool[np.ndarray, " T"]

    @property
    def coverage(self) -> float:
        """Share of the subject tokens with characters that a simulator token answers for; NaN without any."""
        return _share(self.to[self.spoken] >= 0)

    @property
    def shared(self) -> float:
        """Share of the tokens answered for that share their simulator token with another, which may leak what follows;
        NaN without any.
        """
        found = self.to[self.to >= 0]
        return _share(np.bincount(found)[found] > 1 if len(found) else found > 0)

    def spread(self, values: Float[np.ndarray, " S"]) -> Float[np.ndarray, " T"]:
        """Values of simulator tokens at the subject tokens; NaN where none answers."""
        found = self.to >= 0
        spread = np.full(len(self.to), np.nan)
        spread[found] = values[self.to[found]]
        return spread


def align(subject: Int[np.ndarray, "T 2"], simulator: Int[np.ndarray, "S 2"]) -> Alignment:
    """Align two tokenizations of one text, given the characters (start, end) of each token, both in reading order.

    For a subject token answers the last simulator token that overlaps it: a causal simulator has then seen all of it.
    Tokens that are pieces of one character have the same span; such a run is matched piece by piece, the first to the
    first and the last to the last, so that a tokenization aligned with itself maps every token to itself.
    """
    spoken = subject[:, 1] > subject[:, 0]
    kept = np.flatnonzero(simulator[:, 1] > simulator[:, 0])
    starts, ends = _without_gaps(simulator[kept])
    last = np.searchsorted(starts, subject[:, 1], side="left") - 1
    answered = np.flatnonzero(spoken & (last >= 0))
    answered = answered[ends[last[answered]] > subject[answered, 0]]
    last = last[answered]
    number, of = (each[answered] for each in _pieces(subject))
    pieces = _pieces(simulator[kept])[1][last]
    to = np.full(len(subject), -1)
    to[answered] = kept[last - pieces + -(-(number + 1) * pieces // of)]
    return Alignment(to, spoken)


def _without_gaps(spans: Int[np.ndarray, "S 2"]) -> tuple[Int[np.ndarray, " S"], Int[np.ndarray, " S"]]:
    """Starts and ends; characters that no token claims (trimmed spaces) go to the token after them."""
    ends = np.maximum.accumulate(spans[:, 1]) if len(spans) else spans[:, 1]
    before = np.concatenate([[0], ends[:-1]])[: len(spans)]
    return np.minimum(spans[:, 0], before), ends


def _pieces(spans: Int[np.ndarray, "T 2"]) -> tuple[Int[np.ndarray, " T"], Int[np.ndarray, " T"]]:
    """Each token's place in its run of equal spans, and the run's length."""
    runs = np.cumsum(np.any(np.diff(spans, axis=0, prepend=-1), axis=1)) - 1
    return np.arange(len(spans)) - np.searchsorted(runs, runs), np.bincount(runs, minlength=1)[runs]


def _share(which: Bool[np.ndarray, " N"]) -> float:
    return float(which.mean()) if len(which) else float("nan")
