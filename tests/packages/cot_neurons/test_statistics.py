"""Intervals and tests against SciPy, plain resampling loops, and cases with an answer known beforehand."""

import numpy as np
import pytest
import scipy.stats
from cot_neurons import statistics


def _pairs(n: int, seed: int) -> np.ndarray:
    """Two columns that go together, with ties in both."""
    random = np.random.default_rng(seed)
    x = random.integers(0, 6, n)
    return np.stack([x, np.round(x + random.normal(0, 2, n))], axis=1).astype(float)


@pytest.mark.parametrize("seed", range(3))
def test_correlations_are_scipys(seed: int):
    pairs = _pairs(30, seed)
    assert statistics.number(pairs, statistics.pearson) == pytest.approx(scipy.stats.pearsonr(*pairs.T)[0])
    assert statistics.number(pairs, statistics.spearman) == pytest.approx(scipy.stats.spearmanr(*pairs.T)[0])


@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_a_weighted_draw_is_the_correlation_of_the_repeated_items(name: str):
    """What stands behind the intervals: weights 2, 0, 3, ... mean the item twice, not at all, three times, ..."""
    pairs = _pairs(12, 5)
    weights = np.random.default_rng(0).integers(0, 4, (20, 12)).astype(float)
    found = getattr(statistics, name)(pairs, weights)
    theirs = {"pearson": scipy.stats.pearsonr, "spearman": scipy.stats.spearmanr}[name]
    for value, row in zip(found, weights.astype(int), strict=True):
        assert value == pytest.approx(theirs(*np.repeat(pairs, row, axis=0).T)[0])


def test_correlation_without_variation_is_not_told():
    flat = np.stack([np.arange(7.0), np.full(7, 0.1)], axis=1)
    assert statistics.number(flat, statistics.pearson) is None
    assert statistics.number(flat, statistics.spearman) is None
    assert statistics.interval(flat, statistics.pearson) == (None, None)


@pytest.mark.parametrize("statistic", ["mean", "pearson"])
def test_intervals_are_those_of_scipys_bootstrap(statistic: str):
    pairs = _pairs(60, 1)
    values = pairs[:, 0] if statistic == "mean" else pairs
    theirs = scipy.stats.bootstrap(
        (pairs[:, 0],) if statistic == "mean" else (pairs[:, 0], pairs[:, 1]),
        np.mean if statistic == "mean" else lambda x, y, axis: scipy.stats.pearsonr(x, y, axis=axis)[0],
        paired=True, vectorized=True, method="percentile", n_resamples=4000, rng=np.random.default_rng(3),
    ).confidence_interval  # fmt: skip
    low, high = statistics.interval(values, getattr(statistics, statistic), seed=0, draws=4000)
    width = theirs.high - theirs.low
    assert low == pytest.approx(theirs.low, abs=0.06 * width)
    assert high == pytest.approx(theirs.high, abs=0.06 * width)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    random = np.random.default_rng(0)
    covered = 0
    for seed in range(300):
        low, high = statistics.interval(random.normal(1.0, 2.0, 50), seed=seed, draws=400)
        covered += low is not None and high is not None and low <= 1.0 <= high
    assert 0.90 <= covered / 300 <= 0.98


def test_ratio_weighs_items_by_their_steps():
    values = np.array([[6.0, 2.0], [1.0, 1.0], [0.0, 7.0]])
    assert statistics.number(values, statistics.ratio) == pytest.approx(0.7)
    assert statistics.number(np.zeros((3, 2)), statistics.ratio) is None
    low, high = statistics.interval(values, statistics.ratio)
    assert low is not None
    assert high is not None
    assert 0 <= low < 0.7 < high <= 3


def test_many_statistics_at_once_are_the_same_as_each_alone():
    values = np.random.default_rng(0).normal(size=(25, 2, 3)) ** 2
    low, high = statistics.intervals(values, statistics.ratio, seed=7)
    for i in range(3):
        assert statistics.interval(values[:, :, i], statistics.ratio, seed=7) == pytest.approx((low[i], high[i]))


def test_the_seed_decides_and_blocks_do_not(monkeypatch: pytest.MonkeyPatch):
    values = np.random.default_rng(0).normal(size=40)
    whole = statistics.interval(values, seed=1)
    assert statistics.interval(values, seed=1) == whole
    assert statistics.interval(values, seed=2) != whole
    monkeypatch.setattr(statistics, "_AT_ONCE", 40 * 7)
    assert statistics.interval(values, seed=1) == pytest.approx(whole)


@pytest.mark.parametrize("values", [[], [3.0]])
def test_too_few_items_give_no_interval(values: list[float]):
    assert statistics.interval(np.array(values)) == (None, None)


def test_paired_interval_is_that_of_the_differences():
    before, after = np.arange(20.0), np.arange(20.0) + 1
    assert statistics.paired_interval(before, after) == (1.0, 1.0)
    noisy = after + np.random.default_rng(0).normal(0, 0.1, 20)
    low, high = statistics.paired_interval(before, noisy)
    assert low is not None
    assert high is not None
    assert 0.9 < low < 1 < high < 1.1


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (1, 0), (5, 5), (3, 9), (30, 12), (700, 600)])
def test_mcnemar_is_the_exact_binomial_test(lost: int, won: int):
    before = np.array([True] * lost + [False] * won + [True] * 4 + [False] * 3)
    after = np.array([False] * lost + [True] * won + [True] * 4 + [False] * 3)
    exact = scipy.stats.binomtest(lost, lost + won).pvalue if lost + won else 1.0
    assert statistics.mcnemar(before, after) == pytest.approx(exact)
