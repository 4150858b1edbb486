"""Ways of scoring: a description of a feature is held against what the feature did in sequences of one split."""

import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import numpy as np

from expgen.scoring.material import Material
from expgen.store import Feature

NULLS = ("other", "empty", "lookup")
"""Null descriptions: what a description has to be better than."""
LOOKUP = "token look-up"
_LEAST = 0.5  # share of what was asked that must have been answered


class Trial(NamedTuple):
    """A description of a feature. `kind`: candidate, or one of `NULLS`."""

    feature: Feature
    description: str
    kind: str = "candidate"
    candidate: int = 0


@dataclass(frozen=True)
class Evidence:
    """What a trial gave: an array per sequence, as the scorer made it, and why there is none of others."""

    samples: list[np.ndarray] = field(default_factory=list[np.ndarray])
    faults: list[str] = field(default_factory=list[str])

    def with_(self, more: "Evidence") -> "Evidence":
        """Both together."""
        return Evidence([*self.samples, *more.samples], [*self.faults, *more.faults])


class Score(NamedTuple):
    """What the table `scores` says of a trial on a split; see there."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    status: str
    reason: str | None

    @classmethod
    def none(cls, status: str, reason: str, n: int = 0) -> "Score":
        """There is no value."""
        return cls(None, None, None, n, status, reason)


class Scorer(ABC):
    """A way of scoring. `nulls`: the null descriptions it can be given."""

    name: ClassVar[str]
    nulls: ClassVar[tuple[str, ...]] = ("other", "empty")

    def __init__(self, seed: int, draws: int) -> None:
        self.seed, self.draws = seed, draws

    @abstractmethod
    def evidence(self, work: Sequence[tuple[Trial, Material]]) -> list[Evidence]:
        """What each trial gives on its material, in order; all is asked together."""

    @abstractmethod
    def measured(self, samples: list[np.ndarray], random: np.random.Generator) -> Score:
        """The score that samples give, with its interval."""

    def concluded(self, trial: Trial, evidence: Evidence) -> Score:
        """The score, where enough of what was asked has been answered; `random` depends on the feature alone."""
        got, lost = len(evidence.samples), len(evidence.faults)
        if not got:
            return Score.none("missing", first(evidence.faults))
        if got < _LEAST * (got + lost):
            return Score.none("missing", f"{lost} of {got + lost} failed: {first(evidence.faults)}", got)
        score = self.measured(evidence.samples, generator(self.seed, str(trial.feature)))
        if lost:
            told = f"{lost} of {got + lost} failed and are left out: {first(evidence.faults)}"
            return score._replace(reason=told if score.reason is None else f"{score.reason}; {told}")
        return score


def generator(seed: int, *names: str) -> np.random.Generator:
    """Random numbers that depend on the seed and these names alone."""
    return np.random.default_rng((seed, *(zlib.crc32(name.encode()) for name in names)))


def first(faults: Iterable[str]) -> str:
    """One of them; all the others are mostly the same."""
    return next(iter(faults), "there is nothing to be scored")
