"""Memory steps against reasoning steps, neuron by neuron: effect, null and p-value, steps being the units."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats

_ROUNDING = 1e-9


class Steps(NamedTuple):
    """Of each step, its trace (numbered from 0, in order) and whether it recalls; and that in each shuffle of the kinds
    within traces, so that what is of a trace stays. What is of a place in the chain cannot be told from a kind that
    always has this place."""

    trace: Int[np.ndarray, " S"]
    memory: Bool[np.ndarray, " S"]
    shuffled: Bool[np.ndarray, "draws S"]

    @classmethod
    def of(cls, kinds: list[tuple[bool, ...]], draws: int, seed: int) -> "Steps":
        """`kinds`: of each trace's steps, whether they recall."""
        trace = np.repeat(np.arange(len(kinds)), [len(each) for each in kinds])
        memory = np.concatenate([np.array(each, bool) for each in kinds])
        random = np.random.default_rng(seed)
        orders = [np.lexsort((random.random(len(trace)), trace)) for _ in range(draws)]
        return cls(trace, memory, memory[np.array(orders)])


class Contrast(NamedTuple):
    """See `tables.Neurons`, polarity +."""

    memory: Float[np.ndarray, " N"]
    reason: Float[np.ndarray, " N"]
    auroc: Float[np.ndarray, " N"]
    null_low: Float[np.ndarray, " N"]
    null_high: Float[np.ndarray, " N"]
    z: Float[np.ndarray, " N"]
    p: Float[np.ndarray, " N"]


def contrast(means: Float[np.ndarray, "S N"], steps: Steps) -> Contrast:
    """Of every neuron, from its mean activation in each step.

    The interval is that of the shuffles; `p` is from the exact mean and variance of the rank sum under them (a
    stratified Wilcoxon test), because so few shuffles as can be drawn reach no p that stands among many neurons.
    """
    memory = steps.memory
    ranks = stats.rankdata(means, axis=0)
    n, m = len(memory), int(memory.sum())
    pairs, least = m * (n - m), m * (m + 1) / 2
    observed = ranks[memory].sum(axis=0)
    mean, variance = _moments(ranks, steps)
    varies = variance > _ROUNDING * n**2
    z = np.divide(observed - mean, np.sqrt(variance), out=np.zeros_like(observed), where=varies)
    null = (steps.shuffled.astype(float) @ ranks - least) / pairs
    low, high = np.quantile(null, (0.025, 0.975), axis=0)
    means = means.astype(float)
    return Contrast(
        memory=means[memory].mean(axis=0),
        reason=means[~memory].mean(axis=0),
        auroc=(observed - least) / pairs,
        null_low=low,
        null_high=high,
        z=z,
        p=2 * stats.norm.sf(np.abs(z)),
    )


def _moments(ranks: Float[np.ndarray, "S N"], steps: Steps) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """Mean and variance of the sum of the memory steps' ranks when kinds are shuffled within traces: of each trace, a
    draw of its m memory steps out of n without replacement."""
    starts = np.flatnonzero(np.diff(steps.trace, prepend=-1))
    n = np.diff(starts, append=len(steps.trace)).astype(float)[:, None]
    m = np.add.reduceat(steps.memory.astype(float), starts)[:, None]
    mean = np.add.reduceat(ranks, starts) / n
    squares = np.add.reduceat((ranks - np.repeat(mean, n[:, 0].astype(int), axis=0)) ** 2, starts)
    variance = m * (n - m) / (n * np.maximum(n - 1, 1)) * squares
    return (m * mean).sum(axis=0), variance.sum(axis=0)
