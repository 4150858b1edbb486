"""Pearson's correlation, AUROC and a standardised difference, each with a bootstrap interval over sequences.

A draw of the bootstrap is how often each sequence came up, its weight (Efron 1979); so each statistic is a function of
weights [draws, n], computed for all draws at once from what each sequence adds to it.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int

_LEVELS = (0.025, 0.975)
_DEFINED = 0.5  # share of draws that must be defined for an interval to be told
_ROUNDING = 1e-7  # relative differences of this size are what float32 leaves of equal numbers

Weights = Float[np.ndarray, "draws n"]
Statistic = Callable[[Weights], Float[np.ndarray, " draws"]]


def varies(values: Float[np.ndarray, " n"]) -> bool:
    """Whether the numbers differ by more than rounding."""
    return len(values) > 0 and float(np.ptp(values)) > _ROUNDING * float(np.abs(values).max())


def told(
    statistic: Statistic, n: int, draws: int, random: np.random.Generator
) -> tuple[float, float | None, float | None]:
    """The statistic of `n` sequences as they are, and the ends of its 95 % percentile interval (None: undefined)."""
    value = float(statistic(np.ones((1, n)))[0])
    samples = statistic(random.multinomial(n, np.full(n, 1 / n), size=draws).astype(float))
    samples = samples[np.isfinite(samples)]
    if n < 2 or len(samples) < _DEFINED * draws:
        return value, None, None
    low, high = np.quantile(samples, _LEVELS)
    return value, float(low), float(high)


def pearson(x: Float[np.ndarray, " T"], y: Float[np.ndarray, " T"], of: Int[np.ndarray, " T"], n: int) -> Statistic:
    """Correlation over tokens, of which token i stands in sequence `of[i]`: from six sums per sequence."""
    x, y = (each - each.mean() for each in (x, y))  # squares of what is far from 0 would lose digits
    parts = (np.ones_like(x), x, y, x * x, y * y, x * y)
    sums = np.stack([np.bincount(of, part, n) for part in parts], axis=1)

    def statistic(weights: Weights) -> Float[np.ndarray, " draws"]:
        count, x, y, xx, yy, xy = (weights @ sums).T
        spread = np.sqrt(_spread(count, x, xx) * _spread(count, y, yy))
        return np.clip(_divided(xy * count - x * y, spread), -1, 1)

    return statistic


def auroc(scores: Float[np.ndarray, " m"], positive: Bool[np.ndarray, " m"], of: Int[np.ndarray, " m"]) -> Statistic:
    """Share of pairs of a positive and a negative in which the positive has the higher score; ties count half."""
    high, low = scores[positive, None], scores[None, ~positive]
    wins = (high > low) + 0.5 * (high == low)

    def statistic(weights: Weights) -> Float[np.ndarray, " draws"]:
        one, other = weights[:, of[positive]], weights[:, of[~positive]]
        return _divided(((one @ wins) * other).sum(axis=1), one.sum(axis=1) * other.sum(axis=1))

    return statistic


def standardised(effects: Float[np.ndarray, "n words"], meant: Bool[np.ndarray, " words"]) -> Statistic:
    """How far the mean effect on the words that are meant stands above chance, in standard deviations.

    Chance: as many words drawn without replacement from all of them. Their mean has the mean μ of all, and variance
    σ²/m · (N - m)/(N - 1), with m of N words meant and σ² the variance of all.
    """
    many, all_ = int(meant.sum()), len(meant)
    shrinks = (all_ - many) / (many * (all_ - 1))

    def statistic(weights: Weights) -> Float[np.ndarray, " draws"]:
        mean = weights @ effects / weights.sum(axis=1, keepdims=True)
        return _divided(mean[:, meant].mean(axis=1) - mean.mean(axis=1), np.sqrt(mean.var(axis=1) * shrinks))

    return statistic


def _spread(count: np.ndarray, total: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """n² times the variance; exactly 0 where only rounding is left of it."""
    spread = squares * count - total * total
    return np.where(spread > _ROUNDING**2 * squares * count, spread, 0)


def _divided(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)
