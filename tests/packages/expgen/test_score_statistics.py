"""Statistics of scores against NumPy, scikit-learn and plain enumeration."""

from itertools import combinations

import numpy as np
import pytest
from expgen.scoring import statistics
from sklearn.metrics import roc_auc_score


def _sequences(seed: int, count: int = 12) -> list[np.ndarray]:
    """Two correlated rows per sequence, of unlike lengths."""
    random = np.random.default_rng(seed)
    shared = [random.normal(size=random.integers(3, 9)) for _ in range(count)]
    return [np.stack([x + random.normal(size=len(x)), 3 * x + 100]) for x in shared]


def _flat(sequences: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x, y = np.concatenate(sequences, axis=1)
    return x, y, np.repeat(np.arange(len(sequences)), [each.shape[1] for each in sequences])


def _resampled(n: int, draws: int, random: np.random.Generator) -> list[np.ndarray]:
    return [np.repeat(np.arange(n), row) for row in random.multinomial(n, np.full(n, 1 / n), size=draws)]


def test_pearson_and_its_interval_are_those_of_a_loop_over_draws():
    sequences = _sequences(0)
    x, y, of = _flat(sequences)
    value, low, high = statistics.told(statistics.pearson(x, y, of, 12), 12, 50, np.random.default_rng(1))
    assert value == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-12)
    loop = [
        np.corrcoef(*np.concatenate([sequences[i] for i in kept], axis=1))[0, 1]
        for kept in _resampled(12, 50, np.random.default_rng(1))
    ]
    assert (low, high) == pytest.approx(tuple(np.quantile(loop, (0.025, 0.975))), abs=1e-9)
    assert low < value < high


def test_pearson_far_from_zero_keeps_its_digits():
    x, y, of = _flat(_sequences(3))
    far = statistics.pearson(x + 1e6, y * 1e-6, of, 12)(np.ones((1, 12)))[0]
    assert far == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-8)


def test_draws_without_variance_are_left_out_and_most_of_them_leave_no_interval():
    """Only one of two sequences varies: a quarter of all draws do not have it."""
    x, y, of = np.array([1.0, 2.0, 3.0, 5.0, 5.0]), np.array([2.0, 1.0, 4.0, 0.1, 0.1]), np.array([0, 0, 0, 1, 1])
    statistic = statistics.pearson(x, y, of, 2)
    assert np.isnan(statistic(np.array([[0.0, 2.0]]))[0])
    assert statistic(np.array([[2.0, 0.0]]))[0] == pytest.approx(np.corrcoef(x[:3], y[:3])[0, 1])
    value, low, high = statistics.told(statistic, 2, 200, np.random.default_rng(0))
    assert low is not None
    assert low <= value <= high
    one_of_many = statistics.pearson(np.r_[x[:3], np.zeros(9)], np.r_[y[:3], np.zeros(9)], np.r_[0, 0, 0, 1:10], 10)
    assert statistics.told(one_of_many, 10, 200, np.random.default_rng(0))[1] is not None, "in most draws it is there"
    seldom = statistics.told(
        lambda weights: np.where(weights[:, 0] > 2, one_of_many(weights), np.nan), 10, 200, np.random.default_rng(0)
    )
    assert seldom[1:] == (None, None), "a few draws say nothing of the spread"


@pytest.mark.parametrize("seed", range(4))
def test_auroc_is_scikit_learns_with_ties_and_in_every_draw(seed: int):
    random = np.random.default_rng(seed)
    scores, positive = random.integers(0, 4, size=17).astype(float), random.random(17) < 0.4
    of = np.sort(random.integers(0, 8, size=17))
    of = np.unique(of, return_inverse=True)[1]
    n = int(of.max()) + 1
    statistic = statistics.auroc(scores, positive, of)
    assert statistic(np.ones((1, n)))[0] == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)
    for kept in _resampled(n, 20, random):
        at = np.concatenate([np.flatnonzero(of == i) for i in kept])
        found = statistic(np.bincount(kept, minlength=n)[None].astype(float))[0]
        if positive[at].all() or not positive[at].any():
            assert np.isnan(found)
        else:
            assert found == pytest.approx(roc_auc_score(positive[at], scores[at]), abs=1e-12)


def test_the_standardised_difference_is_that_of_all_possible_draws_of_as_many_words():
    random = np.random.default_rng(0)
    effects, meant = random.normal(size=(5, 9)), np.arange(9) < 3
    weights = np.array([[1.0, 1, 1, 1, 1], [3, 0, 1, 0, 1]])
    for found, weight in zip(statistics.standardised(effects, meant)(weights), weights, strict=True):
        mean = np.average(effects, axis=0, weights=weight)
        chance = [mean[list(some)].mean() for some in combinations(range(9), 3)]
        assert found == pytest.approx((mean[:3].mean() - np.mean(chance)) / np.std(chance), abs=1e-12)


def test_the_standardised_difference_is_at_most_the_root_of_the_other_words():
    meant = np.arange(17) < 4
    assert statistics.standardised(meant[None].astype(float), meant)(np.ones((1, 1)))[0] == pytest.approx(4)


def test_rounding_is_no_variation():
    assert not statistics.varies(np.full(5, 0.1) + np.array([0, 1e-17, 0, 2e-17, 0]))
    assert not statistics.varies(np.full(3, 3.0, dtype=np.float32) * np.array([1, 1 + 6e-8, 1]))
    assert not statistics.varies(np.zeros(4))
    assert not statistics.varies(np.zeros(0))
    assert statistics.varies(np.array([0, 0, 1e-30]))
    assert statistics.varies(np.array([5.0, 5.0001]))
