"""Scores, their p against random directions, and false discovery rates, against plain re-computation."""

import numpy as np
import pytest
from cot_neurons.labels.controls import decoys, shuffled
from cot_neurons.labels.matching import Lists, NullGains, false_discovery_rates
from scipy import stats


def test_scores_by_hand():
    of = Lists(np.array([[7, 1, 2], [1, 7, 9], [3, 4, 5]]), np.array([[4.0, 2.0, 1.0], [4.0, 0.0, 0.0], [3.0, 2, 1]]))
    discount = 1 / np.log2([2, 3, 4])
    assert of.gains([7]) == pytest.approx([4.0, 0, 0])
    assert of.gains([1, 2]) == pytest.approx([2 * discount[1] + 1 * discount[2], 4.0, 0])
    assert of.scores([7]) == pytest.approx([1, 0, 0])
    assert of.scores([1, 2])[0] == pytest.approx((2 * discount[1] + discount[2]) / (4 + 2 * discount[1]))
    assert of.scores([1, 2])[1] == pytest.approx(1), "the tokens it does not push up count for nothing"
    assert of.scores([1, 7, 2, 8, 9])[0] == pytest.approx(1), "no list can hold more than it has places"


@pytest.mark.parametrize(("k", "vocab", "tokens"), [(20, 118, 3), (5, 40, 12), (10, 1536, 2), (3, 3, 2)])
def test_p_is_the_share_of_random_directions(k: int, vocab: int, tokens: int):
    """Against directions really drawn: normal scores for every token, the k highest listed, all counted."""
    random = np.random.default_rng(7)
    draws = 40_000
    scores = random.standard_normal((draws, vocab), dtype=np.float32)
    ids = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    ids = np.take_along_axis(ids, np.argsort(-np.take_along_axis(scores, ids, axis=1), axis=1), axis=1)
    of = Lists(ids, np.maximum(np.take_along_axis(scores, ids, axis=1), 0))
    gains = of.gains(range(tokens))
    null = NullGains(k, vocab, seed=3)
    for wanted in np.quantile(gains[gains > 0], [0.05, 0.3, 0.6, 0.9, 0.99]):
        share = (gains >= wanted).mean()
        noise = 5 * np.sqrt(share * (1 - share) / draws) + 1e-4
        assert null.p(np.array([wanted]), tokens)[0] == pytest.approx(share, abs=noise)
    assert null.p(np.zeros(1), tokens)[0] == 1


def test_small_p_are_told_though_draws_are_few():
    """All three words of a concept at the top of a list of twenty out of 32,000: less than one in a million."""
    null = NullGains(20, 32_000, seed=0)
    p = null.p(np.array([30.0]), 3)[0]
    assert 0 < p < 1e-6
    assert null.p(np.array([30.0]), 60)[0] > p, "with more words a match is more likely"


def test_adjusted_p_are_scipys():
    p = np.random.default_rng(1).uniform(size=500) ** 3
    p[::7] = 1.0
    assert false_discovery_rates(p) == pytest.approx(stats.false_discovery_control(p))


def test_decoys_are_promoted_about_as_often_as_what_they_stand_for():
    random = np.random.default_rng(0)
    often = np.minimum(random.zipf(1.5, (4000, 10)), 800) - 1
    of = Lists(often, np.ones(often.shape))
    counts = np.bincount(often.ravel(), minlength=1000)
    concepts = {"one": [0, 5, 300], "two": [5, 20, 950]}
    made = decoys(of, concepts, 1000, seed=0)
    assert {name: len(ids) for name, ids in made.items()} == {"decoy-one": 3, "decoy-two": 3}
    chosen = [i for ids in made.values() for i in ids]
    assert len(set(chosen)) == 6
    assert not set(chosen) & {0, 5, 20, 300, 950}
    assert sorted(made["decoy-two"])[-1] >= 800 or counts[sorted(made["decoy-two"])].min() == 0
    assert np.abs(np.sort(counts[made["decoy-one"]])[0] - counts[300]) <= 5
    assert made == decoys(of, concepts, 1000, seed=0)
    assert made != decoys(of, concepts, 1000, seed=1)


def test_decoys_stop_where_the_vocabulary_does():
    of = Lists(np.array([[0, 1, 2, 3]]), np.ones((1, 4)))
    assert decoys(of, {"all": [0, 1, 2]}, 4, seed=0) == {"decoy-all": [3]}


def test_shuffled_lists_keep_strengths_and_hold_other_tokens_once_each():
    ids = np.argsort(np.random.default_rng(0).random((200, 500)), axis=1)[:, :20]
    of = Lists(ids, np.linspace(5, 1, 20) * np.ones((200, 1)))
    mixed = shuffled(of, seed=0)
    assert (mixed.strengths == of.strengths).all()
    assert set(mixed.ids.ravel()) <= set(ids.ravel())
    assert all(len(set(row)) == 20 for row in mixed.ids)
    assert (mixed.ids == of.ids).mean() < 0.02
