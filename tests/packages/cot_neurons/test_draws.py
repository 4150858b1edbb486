"""Random numbers by place: their distribution, that neighbours have nothing to do with each other, and nothing else."""

import pytest
import torch
from cot_neurons.ablation import draws
from scipy import stats
from torch import Tensor

ITEMS, POSITIONS, UNITS = torch.arange(20)[:, None, None], torch.arange(50)[:, None], torch.arange(40)
MANY = (ITEMS, POSITIONS, UNITS)


def _far(a: Tensor, b: Tensor) -> float:
    """Correlation, in standard errors of it."""
    return abs(float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])) * a.numel() ** 0.5


def test_uniform_numbers_are_uniform():
    drawn = draws.uniform(3, *MANY)
    assert drawn.shape == (20, 50, 40)
    assert drawn.dtype == torch.float32
    assert 0 < float(drawn.min()) < float(drawn.max()) < 1
    assert float(drawn.mean()) == pytest.approx(1 / 2, abs=4 * (1 / 12 / drawn.numel()) ** 0.5)
    assert float(drawn.var()) == pytest.approx(1 / 12, rel=0.02)
    assert stats.kstest(drawn.flatten().numpy(), "uniform").statistic < 1.95 / drawn.numel() ** 0.5  # p > 0.001


def test_gaussian_numbers_are_normal():
    drawn = draws.gaussian(3, *MANY).double()
    n = drawn.numel()
    assert float(drawn.mean()) == pytest.approx(0, abs=4 / n**0.5)
    assert float(drawn.var()) == pytest.approx(1, abs=4 * (2 / n) ** 0.5)
    assert float((drawn**3).mean()) == pytest.approx(0, abs=4 * (15 / n) ** 0.5)
    assert float((drawn**4).mean()) == pytest.approx(3, abs=4 * (96 / n) ** 0.5)
    assert stats.kstest(drawn.flatten().numpy(), "norm").statistic < 1.95 / n**0.5


@pytest.mark.parametrize("draw", [draws.uniform, draws.gaussian])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_neighbours_do_not_go_together(draw, axis: int):
    """Neither their values nor their sizes: along items, positions and units."""
    drawn = draw(0, *MANY) - (0.5 if draw is draws.uniform else 0)
    before, after = drawn.narrow(axis, 0, drawn.shape[axis] - 1), drawn.narrow(axis, 1, drawn.shape[axis] - 1)
    assert _far(before, after) < 4
    assert _far(before.abs(), after.abs()) < 4


@pytest.mark.parametrize("seed", range(4))
def test_another_seed_is_not_the_same_numbers_moved(seed: int):
    """No number of one seed is that of another seed at the next item: such runs would only look independent."""
    here, there = draws.uniform(seed, *MANY), draws.uniform(seed + 1, *MANY)
    assert _far(here, there) < 4
    for shift in (-2, -1, 1, 2):
        assert not bool((here.roll(shift, 0) == there).float().mean() > 0.001)


def test_a_number_depends_on_its_place_alone():
    whole = draws.gaussian(5, *MANY)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    assert torch.equal(draws.gaussian(5, ITEMS[order], POSITIONS, UNITS), whole[order])
    assert torch.equal(draws.gaussian(5, ITEMS[3:4], POSITIONS[7:8], UNITS[11:13]), whole[3:4, 7:8, 11:13])
    rows, columns = torch.tensor([4, 4, 19]), torch.tensor([0, 49, 7])  # as a batch of decoding rows asks for them
    assert torch.equal(draws.gaussian(5, rows[:, None], columns[:, None], UNITS), whole[rows, columns])
    assert not torch.equal(draws.gaussian(6, *MANY), whole)


def test_global_random_state_plays_no_part():
    torch.manual_seed(1)
    state, one = torch.get_rng_state(), draws.gaussian(0, UNITS)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(draws.gaussian(0, UNITS), one)
