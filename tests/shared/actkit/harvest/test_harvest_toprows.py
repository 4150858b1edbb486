"""The strongest rows of every unit, against NumPy over plain Hugging Face activations."""

import numpy as np
import pytest
import torch
from actkit import Feature, Keep, TopRows, harvest, load
from actkit.harvest.reducing import Seen
from actkit.harvest.rows import Block
from specimens import families
from torch import Tensor

K, WINDOW = 4, 5
NAMES = ("rows", "positions", "values", "around")


@pytest.fixture(scope="module")
def model():
    return load(families.tiny_model("llama"))


@pytest.fixture(scope="module")
def rows() -> list[list[int]]:
    """Mixed lengths, and rows that are there twice, so that there are ties."""
    rng = np.random.default_rng(4)
    made = [rng.integers(3, 60, rng.integers(1, 14)).tolist() for _ in range(30)]
    return [*made, made[3], made[3], made[10], [5] * 9, [5] * 9]


@pytest.fixture(scope="module")
def plain(model, rows: list[list[int]]) -> list[np.ndarray]:
    """Each row's activations at the input of layer 1's down projection, [T, N], by a plain hook."""
    found: list[np.ndarray] = []
    down = model.hf.model.layers[1].mlp.down_proj
    hook = down.register_forward_pre_hook(lambda _, given: found.append(given[0][0].numpy()))
    with torch.no_grad():
        for row in rows:
            model.hf(torch.tensor([row]))
    hook.remove()
    return found


def _by_hand(plain: list[np.ndarray], sign: int, k: int, valid: list[np.ndarray], documents: list[int], cap: int):
    """For every unit the chosen (row, position, value), strongest first, ties to the earlier row."""
    for unit in range(plain[0].shape[1]):
        peaks = []
        for row, (x, may) in enumerate(zip(plain, valid, strict=True)):
            if may.any():
                position = int(np.where(may, sign * x[:, unit], -np.inf).argmax())
                peaks.append((-sign * x[position, unit], row, position))
        chosen, counts = [], dict.fromkeys(documents, 0)
        for value, row, position in sorted(peaks):
            if counts[documents[row]] < cap and len(chosen) < k:
                counts[documents[row]] += 1
                chosen.append((row, position, -sign * value))
        yield chosen


def _window(x: np.ndarray, position: int) -> np.ndarray:
    start = min(max(0, position - WINDOW * 3 // 4), max(0, len(x) - WINDOW))
    return np.pad(x[start : start + WINDOW], (0, WINDOW - len(x[start : start + WINDOW])), constant_values=np.nan)


def _check(store, plain, k: int, valid: list[np.ndarray], documents: list[int], cap: int) -> None:
    found = {name: x.numpy() for name, x in store["mlp_post.1"].items()}
    for pole, sign in enumerate((1, -1)):
        for unit, best in enumerate(_by_hand(plain, sign, k + 1, valid, documents, cap)):
            chosen = best[:k]
            at = pole, unit, slice(len(chosen))
            values = np.array([value for *_, value in chosen])
            np.testing.assert_allclose(found["values"][at], values, atol=1e-5)
            assert (found["values"][pole, unit, len(chosen) :] != found["values"][pole, unit, len(chosen) :]).all()
            gaps = np.diff([np.inf, *(value * sign for *_, value in best), -np.inf]) < -1e-5
            clear = (gaps[:-1] & gaps[1:])[:k]  # what differs by rounding alone may stand in any order
            np.testing.assert_array_equal(found["rows"][at][clear], np.array([row for row, *_ in chosen])[clear])
            for row, position, value, around in zip(*(found[name][at] for name in NAMES), strict=True):
                assert valid[row][position]
                assert abs(plain[row][position, unit] - value) < 1e-5
                np.testing.assert_allclose(around, _window(plain[row][:, unit], position), atol=1e-5)


@pytest.fixture(params=["cpu", "accelerator"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of taking a batch in, the accelerator's on the CPU."""
    if request.param == "accelerator":
        monkeypatch.setattr(TopRows, "update", TopRows._queue)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("batch_size", [1, 4, 50])
@pytest.mark.parametrize("k", [1, K, 60])
def test_the_strongest_rows_of_plain_activations(model, rows, plain, tmp_path, batch_size: int, k: int):
    store = harvest(model, rows, "mlp_post.1", reduce=TopRows(k, window=WINDOW), store=tmp_path, batch_size=batch_size,
                    shard_tokens=100, quiet=True)  # fmt: skip
    everything = [np.ones(len(row), bool) for row in rows]
    _check(store, plain, k, everything, list(range(len(rows))), cap=1)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("cap", [1, 2])
def test_only_valid_tokens_win_and_so_many_of_a_document(model, rows, plain, tmp_path, cap: int):
    valid = [np.array([token % 3 != 0 for token in row]) for row in rows]
    assert any(not may.any() for may in valid)
    documents = [row // 4 for row in range(len(rows))]
    starts = np.cumsum([0, *map(len, rows)])[:-1]
    first = torch.tensor([starts[documents.index(d)] for d in dict.fromkeys(documents)])
    reducer = TopRows(K, window=WINDOW, valid=torch.tensor(np.concatenate(valid)), documents=first, per_document=cap)
    store = harvest(
        model, rows, "mlp_post.1", reduce=reducer, store=tmp_path, batch_size=7, shard_tokens=60, quiet=True
    )
    _check(store, plain, K, valid, documents, cap)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("batch", [1, 3, 40])
def test_equal_peaks_go_to_the_earlier_row_and_position(batch: int):
    """Activations of few values, so that nearly all are ties, with no model whose rounding could tell them apart."""
    rng = np.random.default_rng(3)
    lengths = rng.integers(1, 9, 40)
    x = [rng.integers(-2, 3, (length, 6)).astype(np.float32) for length in lengths]
    starts = torch.tensor(np.cumsum([0, *lengths])[:-1])
    valid = [rng.random(length) < 0.7 for length in lengths]
    reducer = TopRows(K, window=WINDOW, valid=torch.tensor(np.concatenate(valid)))
    state = reducer.init(6, torch.device("cpu"))
    for group in torch.tensor(rng.permutation(40)).split(batch):
        rows = group.sort().values
        mask = torch.arange(int(lengths.max())) < torch.tensor(lengths)[rows][:, None]
        block = Block(mask, starts[rows], rows)
        values = torch.tensor(np.concatenate([x[row] for row in rows]))
        reducer.update(state, Seen(values, block.tokens(torch.device("cpu")), block))()
    found = {name: each.numpy() for name, each in reducer.finish(state).items()}
    for pole, sign in enumerate((1, -1)):
        for unit, chosen in enumerate(_by_hand(x, sign, K, valid, list(range(40)), cap=1)):
            assert found["values"][pole, unit].tolist() == [value for *_, value in chosen]
            tokens = [int(starts[row]) + position for row, position, _ in chosen]
            assert found["tokens"][pole, unit].tolist() == tokens
            for around, (row, position, _) in zip(found["around"][pole, unit], chosen, strict=True):
                np.testing.assert_array_equal(around, _window(x[row][:, unit], position))


class Halves(Feature):
    """Sums over the halves of the site's units: known, and of another size."""

    name, site = "halves.1", "mlp_post.1"

    def __call__(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (2, -1)).sum(-1)

    def identity(self) -> str:
        return "halves"


def test_a_feature_is_harvested_beside_its_site(model, rows, plain, tmp_path):
    wanted = [TopRows(K, window=WINDOW), Keep(rows=[2, 33])]
    store = harvest(model, rows, [Halves(), "mlp_post.1"], reduce=wanted, store=tmp_path, quiet=True)
    assert store.sites == ["mlp_post.1", "halves.1"]
    halves = [x.reshape(len(x), 2, -1).sum(-1) for x in plain]
    peaks = np.sort([x.max(0) for x in halves], axis=0)[::-1][:K].T
    np.testing.assert_allclose(store["halves.1", "toprows"]["values"][0], peaks, atol=1e-4)
    kept = store["halves.1", "keep"]
    np.testing.assert_allclose(kept["values"], np.concatenate([halves[2], halves[33]]), atol=1e-4)
    assert kept["rows"].tolist() == [2] * len(rows[2]) + [33] * len(rows[33])
