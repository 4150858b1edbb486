"""Honest statistics over items: seeded bootstrap intervals, paired tests, correlations.

Items are drawn with replacement (Efron 1979); a draw is how often each item came up, its weight. So a statistic is a
function of values and weights, computed for all draws at once: `statistic(values [n, ...], weights [draws, n])` gives
[draws, ...], NaN where a draw leaves it undefined. What has nothing to measure is NaN in arrays and None as a number.
"""

from collections.abc import Callable, Iterator, Sequence
from math import comb

import numpy as np
from jaxtyping import Bool, Float

DRAWS = 1000
_LEVELS = (0.025, 0.975)
_DEFINED = 0.5  # share of draws that must be defined for an interval to be told
_ROUNDING = 1e-12
_AT_ONCE = 1 << 22  # weights held in memory at a time

Statistic = Callable[[np.ndarray, Float[np.ndarray, "draws n"]], Float[np.ndarray, "draws *k"]]


def mean(values: Float[np.ndarray, "n *k"], weights: Float[np.ndarray, "draws n"]) -> Float[np.ndarray, "draws *k"]:
    """Weighted mean over items."""
    return np.tensordot(weights, values, axes=1) / weights.sum(axis=1).reshape(-1, *[1] * (values.ndim - 1))


def ratio(values: Float[np.ndarray, "n 2 *k"], weights: Float[np.ndarray, "draws n"]) -> Float[np.ndarray, "draws *k"]:
    """Sum of values[:, 0] over sum of values[:, 1]: the mean per step, of items with unlike many steps."""
    sums = np.tensordot(weights, values, axes=1)
    return _divided(sums[:, 0], sums[:, 1])


def pearson(pairs: Float[np.ndarray, "n 2"], weights: Float[np.ndarray, "draws n"]) -> Float[np.ndarray, " draws"]:
    """Pearson's correlation of the two columns."""
    x, y = (np.broadcast_to(column, weights.shape) for column in (pairs - pairs.mean(axis=0)).T)
    return correlation(x, y, weights)


def spearman(pairs: Float[np.ndarray, "n 2"], weights: Float[np.ndarray, "draws n"]) -> Float[np.ndarray, " draws"]:
    """Spearman's correlation of the two columns: Pearson's of their ranks, equal values sharing their mean rank."""
    x, y = (_ranks(column, weights) for column in pairs.T)
    return correlation(x, y, weights)


def estimate(values: np.ndarray, statistic: Statistic = mean) -> Float[np.ndarray, "*k"]:
    """The statistic of the items as they are, each counting once."""
    values = np.asarray(values, dtype=float)
    return statistic(values, np.ones((1, len(values))))[0]


def number(values: np.ndarray, statistic: Statistic = mean) -> float | None:
    """`estimate` of a statistic that is one number; None where it is not defined."""
    return _told(estimate(values, statistic)) if len(values) else None


def intervals(
    values: Float[np.ndarray, "n ..."], statistic: Statistic = mean, seed: int = 0, draws: int = DRAWS
) -> tuple[Float[np.ndarray, "*k"], Float[np.ndarray, "*k"]]:
    """Lower and upper ends of 95 % percentile bootstrap intervals over items, all from the same draws.

    NaN where the statistic is undefined in most draws, and for fewer than two items.
    """
    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        nowhere = np.full_like(estimate(values, statistic) if len(values) else np.zeros(()), np.nan)
        return nowhere, nowhere
    samples = np.concatenate([statistic(values, weights) for weights in _weights(len(values), seed, draws)])
    known = np.isfinite(samples).mean(axis=0) >= _DEFINED
    told = np.where(known, samples, 0)
    quantile = np.nanquantile if np.isnan(told).any() else np.quantile  # the first takes column by column
    low, high = quantile(told, _LEVELS, axis=0)
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def interval(
    values: Float[np.ndarray, "n ..."], statistic: Statistic = mean, seed: int = 0, draws: int = DRAWS
) -> tuple[float | None, float | None]:
    """`intervals` of a statistic that is one number; (None, None) where there is nothing to measure."""
    low, high = intervals(values, statistic, seed, draws)
    return _told(low), _told(high)


def paired_interval(
    before: Sequence[float] | np.ndarray, after: Sequence[float] | np.ndarray, seed: int = 0, draws: int = DRAWS
) -> tuple[float | None, float | None]:
    """95 % interval of the mean change of the same items, in the same order."""
    return interval(np.asarray(after, dtype=float) - np.asarray(before, dtype=float), mean, seed, draws)


def mcnemar(before: Sequence[bool] | Bool[np.ndarray, " n"], after: Sequence[bool] | Bool[np.ndarray, " n"]) -> float:
    """Two-sided exact p of McNemar's test (1947): that as many items went from right to wrong as the other way."""
    one, other = np.asarray(before, dtype=bool), np.asarray(after, dtype=bool)
    lost, won = int((one & ~other).sum()), int((~one & other).sum())
    changed = lost + won
    tail = sum(comb(changed, i) for i in range(min(lost, won) + 1))
    return min(1.0, 2 * tail / 2**changed)


def correlation(
    x: Float[np.ndarray, "draws n"], y: Float[np.ndarray, "draws n"], weights: Float[np.ndarray, "draws n"]
) -> Float[np.ndarray, " draws"]:
    """Pearson's correlation of two values per item that differ from draw to draw; NaN where one does not vary."""
    x, y = (_centred(each, weights) for each in (x, y))
    xx, yy, xy = ((weights * product).sum(axis=1) for product in (x * x, y * y, x * y))
    return np.clip(_divided(xy, np.sqrt(xx * yy)), -1, 1)


def drawn(random: np.random.Generator, n: int, draws: int) -> Float[np.ndarray, "draws n"]:
    """How often each of `n` items comes up in each draw of `n` with replacement."""
    picked = random.integers(n, size=(draws, n)) + n * np.arange(draws)[:, None]
    return np.bincount(picked.ravel(), minlength=draws * n).reshape(draws, n).astype(float)


def _weights(n: int, seed: int, draws: int) -> Iterator[Float[np.ndarray, "some n"]]:
    """As `drawn`, in blocks that fit into memory."""
    random = np.random.default_rng(seed)
    most = max(1, _AT_ONCE // n)
    for start in range(0, draws, most):
        yield drawn(random, n, min(most, draws - start))


def _centred(x: Float[np.ndarray, "draws n"], weights: Float[np.ndarray, "draws n"]) -> Float[np.ndarray, "draws n"]:
    """The values less their weighted mean; exactly 0 where only rounding is left of them."""
    centred = x - ((weights * x).sum(axis=1) / weights.sum(axis=1))[:, None]
    return np.where(np.abs(centred) > _ROUNDING * np.abs(x).max(axis=1, keepdims=True), centred, 0)


def _ranks(column: Float[np.ndarray, " n"], weights: Float[np.ndarray, "draws n"]) -> Float[np.ndarray, "draws n"]:
    """Mean rank of each item's value among those drawn."""
    _, place = np.unique(column, return_inverse=True)
    counts = np.zeros((len(weights), place.max() + 1))
    np.add.at(counts.T, place, weights.T)
    return (counts.cumsum(axis=1) - (counts - 1) / 2)[:, place]


def _divided(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


def _told(value: np.ndarray) -> float | None:
    return float(value) if np.isfinite(value) else None
