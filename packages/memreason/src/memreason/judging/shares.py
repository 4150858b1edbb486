"""Shares with their intervals: what wrong answers are blamed on, and whether steps do what their labels say."""

from typing import NamedTuple

import polars as pl

from memreason.measured import wilson
from memreason.trace import KINDS

BLAMES = ("memory", "reason", "format", "none")


class Share(NamedTuple):
    """`hits` of `n`, and the ends of the 95 % interval (Wilson 1927)."""

    hits: int
    n: int
    low: float
    high: float

    @property
    def value(self) -> float:
        return self.hits / self.n

    @classmethod
    def of(cls, hits: int, n: int) -> "Share | None":
        """None where nothing was counted."""
        return cls(hits, n, *wilson(hits, n)) if n else None


def blamed(frame: pl.DataFrame) -> dict[str, Share]:
    """Of the wrong answers with a verdict (rows of `tables.Blame` by one judge), how many on what."""
    told = frame.filter(status="ok")
    shares = {name: Share.of(len(told.filter(blame=name)), len(told)) for name in BLAMES}
    return {name: share for name, share in shares.items() if share}


def kept(frame: pl.DataFrame) -> dict[str, Share]:
    """Of the steps of each kind with a verdict (rows of `tables.Decoupling` by one judge), how many are what their
    label says: memory steps that state a fact, reasoning steps that infer."""
    told = frame.filter(status="ok")
    steps = {kind: told.filter(kind=kind) for kind in KINDS}
    shares = {kind: Share.of(len(of_it.filter(content=kind)), len(of_it)) for kind, of_it in steps.items()}
    return {kind: share for kind, share in shares.items() if share}
