"""Whether two properties of neurons go together beyond chance, and whether one group's numbers lie above another's.

Layers differ in everything, so neurons are compared within their layer and polarity alone (strata).
"""

from collections.abc import Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Float
from scipy import optimize, special, stats

STRATUM = ["layer", "polarity"]
_TAIL = 0.025
_FEWEST = 3
_FAR = 50.0  # log odds beyond which nothing changes any more


class Together(NamedTuple):
    """Of `n` neurons with one property `both` have the other, too; `expected`: as many by chance. `low`, `high`: what
    number is expected at the ends of the 95 % interval of the odds ratio common to all strata; `p`: two-sided."""

    n: int
    both: int
    expected: float
    low: float
    high: float
    p: float


class Apart(NamedTuple):
    """A number of one group (`n` neurons) and of the others (`rest`), the 95 % interval of their difference, and
    `p`: two-sided."""

    n: int
    rest: int
    value: float
    other: float
    low: float
    high: float
    p: float


def together(rows: pl.DataFrame, one: str, other: str) -> Together:
    """Do two properties (boolean columns) of neurons go together within strata?

    Chance is a permutation within each stratum. The number of neurons with both is then a sum of independent
    hypergeometric numbers, whose distribution is exact; under a common odds ratio it is tilted by it (Gart 1970), which
    gives an exact interval, also where no neuron has both.
    """
    counts = rows.group_by(STRATUM, maintain_order=True).agg(
        pl.len().alias("all"),
        pl.sum(other).alias("others"),
        pl.sum(one).alias("ones"),
        (pl.col(one) & pl.col(other)).sum().alias("both"),
    )
    n, both = int(counts["ones"].sum()), int(counts["both"].sum())
    chance = _Sum.of(counts.select("all", "others", "ones").rows())
    below, above = chance.tails(0.0, both)
    low, high = chance.end(both, upper=False), chance.end(both, upper=True)
    return Together(n, both, chance.mean(0.0), low, high, min(1.0, 2 * min(below, above)))


class _Sum(NamedTuple):
    """The distribution of a sum of independent hypergeometric numbers, one of each stratum.

    `least`: the smallest sum there can be; `logs`: of each stratum, logarithms of the probabilities of its numbers.
    """

    least: int
    logs: list[Float[np.ndarray, " v"]]

    @classmethod
    def of(cls, strata: Sequence[tuple[int, int, int]]) -> "_Sum":
        """From how many there are in each stratum, how many of them have one property, how many the other."""
        least = [max(0, k + m - every) for every, k, m in strata]
        logs = [
            stats.hypergeom.logpmf(np.arange(low, min(k, m) + 1), every, k, m)
            for low, (every, k, m) in zip(least, strata, strict=True)
        ]
        return cls(sum(least), logs)

    @property
    def values(self) -> Float[np.ndarray, " v"]:
        """The sums there can be."""
        return self.least + np.arange(1.0 + sum(len(each) - 1 for each in self.logs))

    def tilted(self, odds: float) -> Float[np.ndarray, " v"]:
        """Their probabilities under a common odds ratio, given as its logarithm."""
        parts = [special.softmax(each + odds * np.arange(len(each))) for each in self.logs]
        return reduce(np.convolve, parts, np.ones(1))

    def mean(self, odds: float) -> float:
        """The number expected."""
        return float(self.tilted(odds) @ self.values)

    def tails(self, odds: float, value: float) -> tuple[float, float]:
        """Chance of at most, and of at least, this number."""
        p = self.tilted(odds)
        return float(p[self.values <= value].sum()), float(p[self.values >= value].sum())

    def end(self, value: float, *, upper: bool) -> float:
        """An end of the interval: the number expected under the odds ratio at which `value` is just that surprising."""
        if value == self.values[-1 if upper else 0]:
            return float(value)
        side = 0 if upper else 1
        found: Any = optimize.brentq(lambda odds: self.tails(odds, value)[side] - _TAIL, -_FAR, _FAR)
        return self.mean(float(found))


def apart(one: Float[np.ndarray, " n"], other: Float[np.ndarray, " m"], statistic: str, seed: int) -> Apart | None:
    """Is one group's mean or median (`statistic`) another than the others'? None where a group has fewer than three.

    The interval is from a bootstrap over neurons, p from the ranks (Mann & Whitney 1947).
    """
    if min(len(one), len(other)) < _FEWEST:
        return None
    of = {"mean": np.mean, "median": np.median}[statistic]
    found = stats.bootstrap(
        (one, other), lambda x, y, axis: of(x, axis=axis) - of(y, axis=axis), method="percentile", n_resamples=2000,
        rng=np.random.default_rng(seed), batch=200,
    )  # fmt: skip
    p = float(stats.mannwhitneyu(one, other).pvalue)
    low, high = map(float, found.confidence_interval)
    return Apart(len(one), len(other), float(of(one)), float(of(other)), low, high, p)


def adjusted(p: Sequence[float | None]) -> list[float | None]:
    """False discovery rates (Benjamini & Hochberg 1995) of the tests there are."""
    there = [each for each in p if each is not None]
    rates = iter(stats.false_discovery_control(there).tolist() if there else [])
    return [None if each is None else next(rates) for each in p]
