"""Settings against each other, on the same questions: run by run, and over seeds."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import polars as pl
from runkit.tables import columns
from scipy import stats

from memreason import comparing, tables
from memreason.pages.evidence import Evidence
from memreason.pages.measures import Estimate, over_seeds
from memreason.pages.runs_read import Evaluated, Place, Setting

REFERENCES = ("typed", "none")
"""Arms that every other one is compared with."""
_ALPHA = 0.05
_ROUNDING = 1e-9


class Contest(NamedTuple):
    """Two settings on the same questions: the difference of their accuracies, a - b. `rows`: of `tables.Pairs`, one per
    pair of runs. `p`: of several pairs a paired t-test over them; of one, or where they all differ alike, McNemar's."""

    a: str
    b: str
    difference: Estimate
    p: float
    rows: pl.DataFrame

    @property
    def verdict(self) -> Literal["more", "less", "unknown"]:
        """What may be said of it: only what interval and test both say."""
        if self.p >= _ALPHA or self.difference.low <= 0 <= self.difference.high:
            return "unknown"
        return "more" if self.difference.value > 0 else "less"


def contests(evidence: Evidence, place: Place, seed: int) -> list[Contest]:
    """Every setting of an arm that others are compared with, against all others; without such, the first setting.

    Settings of one arm are compared with each other, too.
    """
    asked = evidence.asked(place)
    known = [each for arm in REFERENCES for each in asked if each.arm == arm] or asked[:1]
    chosen = [(a, b) for i, a in enumerate(known) for b in asked if b not in known[: i + 1]]
    rest = [each for each in asked if each not in known]
    chosen += [(a, b) for i, a in enumerate(rest) for b in rest[i + 1 :] if a.arm == b.arm]
    return [_contest(a, b, evidence, place, seed) for a, b in chosen]


def table(found: list[Contest]) -> pl.DataFrame:
    """The table `pairs`."""
    empty = pl.DataFrame(schema=columns(tables.Pairs))
    return pl.concat([empty, *(each.rows for each in found)])


def _contest(a: Setting, b: Setting, evidence: Evidence, place: Place, seed: int) -> Contest:
    rows = pl.concat(
        comparing.compare(a.label(ours), place.of(ours.answers), b.label(theirs), place.of(theirs.answers), seed)
        for ours, theirs in _matched(a, b)
    )
    rows = rows.with_columns(split=pl.lit(place.name if len(evidence.datasets) > 1 else place.split))
    first = rows.row(0, named=True)
    change = (rows["accuracy_a"] - rows["accuracy_b"]).to_numpy()
    if len(rows) == 1 or np.ptp(change) < _ROUNDING:
        return Contest(a.name, b.name, Estimate(first["difference"], first["low"], first["high"]), first["p"], rows)
    p = float(stats.ttest_rel(rows["accuracy_a"].to_numpy(), rows["accuracy_b"].to_numpy()).pvalue)
    return Contest(a.name, b.name, Estimate(float(change.mean()), *over_seeds(change.tolist())), p, rows)


def _matched(a: Setting, b: Setting) -> Iterator[tuple[Evaluated, Evaluated]]:
    """Runs of the same seed; where seeds are not known, or none is shared, in the order that they were named in."""
    seeds = {run.taught.seed: run for run in b.runs if run.taught}
    shared = [(run, seeds[run.taught.seed]) for run in a.runs if run.taught and run.taught.seed in seeds]
    yield from shared or zip(a.runs, b.runs, strict=False)
