"""Each reducer against NumPy, on made-up activations full of ties, in batches cut at random and in any order."""

import random

import numpy as np
import pytest
import torch
from actkit.harvest import HarvestError, Histogram, Keep, Mean, Moments, Sparse, TopK
from actkit.harvest.folds import Fold
from actkit.harvest.reducing import Seen
from actkit.harvest.rows import Block

UNITS = 37
CPU = torch.device("cpu")
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def activations(tokens: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    """Few distinct values, both zeros and both signs among them."""
    rng = np.random.default_rng(seed)
    values = rng.integers(-6, 7, (tokens, UNITS)) / 4 * rng.choice([1.0, -1.0], (tokens, UNITS))
    values[:, 0] = 0.0
    return torch.tensor(values, dtype=dtype)


def batches(x: torch.Tensor, seed: int) -> list[Seen]:
    """The tokens in shuffled batches; within each ascending, as rows of a batch are."""
    rng = random.Random(seed)
    numbers = list(range(len(x)))
    rng.shuffle(numbers)
    found = []
    while numbers:
        size = rng.choice([1, 3, 31, 32, 33, 64, 200])
        chosen, numbers = sorted(numbers[:size]), numbers[size:]
        tokens = torch.tensor(chosen)
        block = Block(torch.ones(len(chosen), 1, dtype=torch.bool), tokens, tokens)
        found.append(Seen(x[tokens], tokens, block))
    return found


def reduced(reducer, seen: list[Seen], units: int = UNITS) -> dict[str, torch.Tensor]:
    state = reducer.init(units, CPU)
    for each in seen:
        rest = reducer.update(state, each)
        if rest is not None:
            rest()
    return state


def strongest(x: torch.Tensor, k: int, sign: int) -> tuple[np.ndarray, np.ndarray]:
    """NumPy's answer: values and tokens, [units, k], by value, then by token."""
    values = x.float().numpy() * sign
    order = np.stack([np.lexsort((np.arange(len(values)), -values[:, unit]))[:k] for unit in range(values.shape[1])])
    return np.take_along_axis(x.float().numpy().T, order, 1), order


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("k", "tokens"), [(1, 500), (5, 700), (50, 600)])
def test_topk_finds_what_numpy_finds_whatever_the_batches(dtype, k, tokens):
    x = activations(tokens, dtype, seed=k)
    for seed in range(4):
        reducer = TopK(k, "both")
        found = reducer.finish(reduced(reducer, batches(x, seed)))
        for pole, sign in enumerate((1, -1)):
            values, order = strongest(x, k, sign)
            np.testing.assert_array_equal(found["tokens"][pole].numpy(), order)
            np.testing.assert_array_equal(found["values"][pole].numpy(), values)


def test_topk_of_distinct_values_in_one_large_batch():
    x = torch.randn(3000, UNITS)
    found = TopK(7, "-").finish(reduced(TopK(7, "-"), [Seen(x, torch.arange(3000), None)]))
    values, order = strongest(x, 7, -1)
    np.testing.assert_array_equal(found["tokens"].numpy(), order)
    np.testing.assert_array_equal(found["values"].numpy(), values)


def test_topk_of_fewer_tokens_than_k_leaves_places_empty():
    x = activations(3)
    found = TopK(5).finish(reduced(TopK(5), batches(x, 0)))
    assert (found["tokens"][:, 3:] == -1).all()
    assert found["values"][:, 3:].isnan().all()
    assert (found["tokens"][:, :3] >= 0).all()


def test_topk_orders_the_extremes_of_float32():
    tiny = torch.finfo(torch.float32).tiny
    values = [-3.4e38, -1.0, -tiny, -1e-45, 0.0, 1e-45, tiny, 1.0, 3.4e38]
    x = torch.tensor(values)[:, None]
    found = TopK(9).finish(reduced(TopK(9), [Seen(x, torch.arange(9), None)], units=1))
    assert found["tokens"][0].tolist() == list(range(8, -1, -1))
    assert torch.equal(found["values"][0], x[:, 0].flip(0))


@pytest.mark.parametrize("reducer", [TopK(6, "both"), Histogram()])
def test_exact_reducers_merge_to_the_same_bits_in_any_order(reducer):
    seen = batches(activations(400), 1)
    whole = reduced(reducer, seen)
    for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        parts = [reduced(reducer, seen[i::3]) for i in order]
        reducer.merge(parts[0], parts[1])
        reducer.merge(parts[0], parts[2])
        assert all(torch.equal(parts[0][name], whole[name]) for name in whole)


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_moments_are_numpy_s_also_far_from_zero(offset):
    x = torch.randn(900, UNITS, dtype=torch.float64) + offset
    found = Moments().finish(reduced(Moments(), batches(x, 2)))
    truth = x.numpy().astype(np.longdouble)
    np.testing.assert_allclose(found["mean"].numpy(), truth.mean(0), rtol=1e-13, atol=1e-14)
    # The data themselves are rounded to 1e-16 of their size: far from zero that is what the variance can be known to.
    np.testing.assert_allclose(found["variance"].numpy(), truth.var(0), rtol=1e-12 if offset == 0 else 1e-9)
    assert torch.equal(found["min"], x.amin(0))
    assert torch.equal(found["max"], x.amax(0))
    assert int(found["count"]) == 900


@pytest.mark.parametrize("dtype", DTYPES)
def test_mean_of_narrow_activations_is_summed_wide(dtype):
    x = torch.full((5000, UNITS), 0.1, dtype=dtype)
    found = Mean().finish(reduced(Mean(), batches(x, 0)))
    np.testing.assert_allclose(found["mean"].numpy(), float(x[0, 0]), rtol=1e-13)


@pytest.mark.parametrize("reducer", [Mean(), Moments()])
def test_merging_depends_on_the_shards_alone(reducer):
    """However consecutive shards are dealt out to processes, and wherever one was interrupted: the same bits."""
    shards = [[Seen(x, torch.arange(40), None)] for x in torch.randn(13, 40, UNITS).unbind()]
    dealt = [[range(13)], [range(6), range(6, 13)], [range(1), range(1, 5), range(5, 12), range(12, 13)]]
    results = []
    for shares in dealt:
        folds = []
        for share in shares:
            fold = Fold(reducer, UNITS, CPU)
            for shard in share:
                again = Fold(reducer, UNITS, CPU)
                again.restore(fold.saved())
                again.close(shard, reduced(reducer, shards[shard]))
                fold = again
            folds.append(fold)
        for other in folds[1:]:
            folds[0].take(other)
        results.append(folds[0].result())
    every = torch.cat([shard[0].x for shard in shards]).double()
    np.testing.assert_allclose(results[0]["mean"].numpy(), every.mean(0).numpy(), rtol=1e-12, atol=1e-15)
    for other in results[1:]:
        assert all(torch.equal(other[name], results[0][name]) for name in other)


def test_histogram_counts_what_numpy_counts():
    x = activations(800)
    reducer = Histogram.uniform(-1.0, 1.0, 8)
    found = reducer.finish(reduced(reducer, batches(x, 3)))
    inf = np.array([np.inf])
    edges = np.concatenate([-inf, np.linspace(-1, 1, 9), inf])
    for unit in range(UNITS):
        np.testing.assert_array_equal(found["counts"][unit].numpy(), np.histogram(x[:, unit].numpy(), edges)[0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threshold", [0.0, 0.75, 0.1])
def test_sparse_lists_what_exceeds_the_threshold(dtype, threshold):
    x = activations(90, dtype) * 0.4
    seen = Seen(x, torch.arange(100, 190), None)
    found = Sparse(threshold=threshold).pick(seen)
    slots, units = np.nonzero(np.abs(x.float().numpy()) > np.float32(threshold))
    np.testing.assert_array_equal(found["tokens"].numpy(), slots + 100)
    np.testing.assert_array_equal(found["units"].numpy(), units)
    np.testing.assert_array_equal(found["values"].float().numpy(), x.float().numpy()[slots, units])
    assert found["values"].dtype == dtype


def test_sparse_top_takes_the_lower_unit_of_equals():
    x = activations(60)
    found = Sparse(top=4).pick(Seen(x, torch.arange(60), None))
    size = np.abs(x.numpy())
    best = np.stack([np.sort(np.lexsort((np.arange(UNITS), -row))[:4]) for row in size])
    np.testing.assert_array_equal(found["units"].numpy().reshape(60, 4), best)


def test_keep_takes_positions_from_both_ends_of_a_row():
    mask = torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0]], dtype=torch.bool)
    block = Block(mask, torch.tensor([10, 20, 30]), torch.arange(3))
    tokens = block.tokens(CPU)
    assert tokens.tolist() == [10, 11, 12, 20, 30, 31]
    assert block.slots(CPU).tolist() == [0, 1, 2, 3, 6, 7]
    seen = Seen(torch.arange(12.0).reshape(6, 2), tokens, block)
    assert Keep(pos=-1).pick(seen)["tokens"].tolist() == [12, 20, 31]
    assert Keep(pos=[1, -1]).pick(seen)["tokens"].tolist() == [11, 12, 20, 31]
    assert Keep(pos=-2, dtype=torch.float16).pick(seen)["values"].tolist() == [[2.0, 3.0], [8.0, 9.0]]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: TopK(0), "k must be at least 1"),
        (lambda: TopK(3, "up"), r"'\+', '-' or 'both'"),
        (Sparse, "either a threshold or a top"),
        (lambda: Sparse(threshold=1.0, top=3), "either a threshold or a top"),
        (lambda: Sparse(top=0), "top 1 or more"),
        (lambda: Histogram((1.0, 1.0)), "must ascend"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, says):
    with pytest.raises(HarvestError, match=says):
        make()
