"""Overlaps of neuron sets, on runs whose neurons are known, against enumeration and a plain re-computation."""

import random
from itertools import combinations
from pathlib import Path

import polars as pl
import pytest
from cot_neurons import stability as module
from cot_neurons.cli import app
from cot_neurons.options import StabilityOptions
from cot_neurons.stability import chance, stability
from typer.testing import CliRunner

from tests.packages.cot_neurons.handmade import discovered

CHAIN = [("so ", "text"), ("2", "operand"), (" +", "operator"), (" 3", "operand"), (" =", "equals"), ("5", "result")]


def _told(rows: int) -> list[tuple[int, str, str]]:
    return [(row, token, tag) for row in range(rows) for token, tag in CHAIN]


def _overlaps(options: StabilityOptions) -> pl.DataFrame:
    return pl.read_parquet(stability(options) / "tables" / "overlaps.parquet")


@pytest.mark.parametrize(("one", "other", "candidates"), [(2, 3, 6), (1, 1, 5), (3, 3, 3), (0, 2, 4), (4, 2, 5)])
def test_chance_is_the_mean_over_all_pairs_of_sets(one: int, other: int, candidates: int):
    pairs = [
        (set(a), set(b)) for a in combinations(range(candidates), one) for b in combinations(range(candidates), other)
    ]
    assert chance(one, other, candidates) == pytest.approx(sum(len(a & b) / len(a | b) for a, b in pairs) / len(pairs))


def test_chance_of_empty_sets_is_unknown_and_of_large_ones_does_not_overflow():
    assert chance(0, 0, 10) is None
    assert chance(200, 200, 700_000) == pytest.approx(200 / 700_000 / 2, rel=0.01)


def test_the_same_neurons_in_every_item_overlap_wholly(workplace: Path):
    """Neuron 10 + step fires at each step of every item, so that every draw finds the same."""
    kept = [(row, step, layer, 10 + step, 2.0 + step) for row in range(12) for step in range(6) for layer in (1, 3)]
    run = discovered(workplace / "same", _told(12), kept)
    overlaps = _overlaps(StabilityOptions(neurons=(str(run),), repeats=2))
    assert set(overlaps["axis"]) == {"items", "seed"}
    assert set(overlaps["amount"]) == {5, 6}
    assert set(overlaps["jaccard"]) == {1.0}
    assert set(overlaps["kind"]) == {"text", "operand", "+", "equals", "result"}
    sizes = overlaps.filter(pl.col("kind") == "operand").select("size_one", "size_other", "shared").unique().rows()
    assert sizes == [(4, 4, 4)]  # two steps write operands, in two layers
    assert overlaps["chance"].max() < 0.35


def test_every_item_its_own_neurons_share_nothing_between_draws(workplace: Path):
    """No draw that is compared shares an item with the other, so what items have to themselves cannot overlap."""
    kept = [(row, step, 0, 6 * row + step, 1.0) for row in range(20) for step in range(6)]
    overlaps = _overlaps(StabilityOptions(neurons=(str(discovered(workplace / "own", _told(20), kept)),)))
    draws = overlaps.filter(pl.col("kind") == "+")
    assert set(draws["jaccard"]) == {0.0}
    assert draws.group_by("axis", "amount").len().sort("amount").rows() == [("items", 5, 5), ("seed", 10, 5)]
    assert draws.filter(pl.col("axis") == "seed").select("size_one", "size_other").unique().rows() == [(10, 10)]


def _random_run(folder: Path, seed: int, rows: int = 6) -> tuple[Path, list[tuple[int, int, int, int, float]]]:
    dice = random.Random(seed)
    kept = [
        (row, step, layer, neuron, dice.choice((1, -1)) * (1 + dice.random()))
        for row in range(rows)
        for step in range(6)
        for layer in (0, 2)
        for neuron in dice.sample(range(8), 4)
    ]
    return discovered(folder, _told(rows), kept), kept


def _plainly(
    kept: list[tuple[int, int, int, int, float]], rows: int, top: int
) -> dict[str, set[tuple[int, int, bool]]]:
    """The `top` neurons per kind of token: by mean strength there less the mean elsewhere."""
    kinds = {step: "+" if tag == "operator" else tag for step, (_, tag) in enumerate(CHAIN)}
    steps = {kind: rows * list(kinds.values()).count(kind) for kind in kinds.values()}
    strength: dict[tuple[int, int, bool], dict[str, float]] = {}
    for _, step, layer, neuron, score in kept:
        sums = strength.setdefault((layer, neuron, score < 0), dict.fromkeys(steps, 0.0))
        sums[kinds[step]] += abs(score)
    best: dict[str, list[tuple[float, tuple[int, int, bool]]]] = {kind: [] for kind in steps}
    for neuron, sums in strength.items():
        gaps = {
            kind: sums[kind] / steps[kind] - (sum(sums.values()) - sums[kind]) / (6 * rows - steps[kind])
            for kind in steps
        }
        focus = max(gaps, key=lambda kind: gaps[kind])
        best[focus].append((gaps[focus], neuron))
    return {kind: {neuron for _, neuron in sorted(found, reverse=True)[:top]} for kind, found in best.items()}


def test_smaller_k_and_other_runs_equal_a_plain_recomputation(workplace: Path):
    (one, kept), (other, kept_other) = _random_run(workplace / "cot", 1), _random_run(workplace / "text_only", 2)
    overlaps = _overlaps(StabilityOptions(neurons=(str(one), str(other)), top=3))
    places: dict[tuple[int, int, int, bool], list[float]] = {}
    for row, step, layer, _, score in kept:
        places.setdefault((row, step, layer, score > 0), []).append(abs(score))
    k = max(map(len, places.values()))
    assert k > 2
    cut = {place: sorted(scores)[-2:] for place, scores in places.items()}
    fewer = [each for each in kept if abs(each[4]) in cut[each[0], each[1], each[2], each[4] > 0]]
    whole = _plainly(kept, 6, 3)
    for axis, amount, names, sets in (
        ("k", 2, ("k 2", f"k {k}"), (_plainly(fewer, 6, 3), whole)),
        ("prompt", None, ("cot", "text_only"), (whole, _plainly(kept_other, 6, 3))),
    ):
        rows = overlaps.filter((pl.col("axis") == axis) & pl.col("amount").eq_missing(amount))
        assert set(rows.select("one", "other").rows()) == {names}
        for row in rows.iter_rows(named=True):
            a, b = (each[row["kind"]] for each in sets)
            assert (row["size_one"], row["size_other"], row["shared"]) == (len(a), len(b), len(a & b))
            assert row["jaccard"] == (pytest.approx(len(a & b) / len(a | b)) if a | b else None)
        assert len(rows) == 5


def test_the_seed_decides_the_draws(workplace: Path):
    run, _ = _random_run(workplace / "run", 3, rows=30)
    first, again, other = (
        _overlaps(StabilityOptions(neurons=(str(run),), top=3, seed=seed, out=workplace / name))
        for seed, name in ((0, "a"), (0, "b"), (1, "c"))
    )
    assert first.equals(again)
    assert not first.filter(pl.col("axis") != "k").equals(other.filter(pl.col("axis") != "k"))


@pytest.mark.usefixtures("drawn")
def test_a_stopped_run_goes_on_and_ends_with_the_same_bytes(workplace: Path, monkeypatch: pytest.MonkeyPatch):
    run, _ = _random_run(workplace / "run", 4, rows=30)
    whole = stability(StabilityOptions(neurons=(str(run),), out=workplace / "whole"))
    real, done = module.Comparison.__call__, []

    def stop(self, pair):
        if len(done) == 7:
            raise KeyboardInterrupt
        done.append(pair)
        return real(self, pair)

    options = StabilityOptions(neurons=(str(run),), out=workplace / "cut")
    monkeypatch.setattr(module.Comparison, "__call__", stop)
    with pytest.raises(KeyboardInterrupt):
        stability(options)
    monkeypatch.setattr(module.Comparison, "__call__", lambda self, pair: (done.append(pair), real(self, pair))[1])
    cut = stability(options)
    assert len(done) == len(set(done))  # nothing was compared twice
    for name in ("tables/overlaps.parquet", "figures/stability.png"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes()


def _refused(*words: str) -> str:
    result = CliRunner().invoke(app, ["stability", *words])
    assert "Traceback" not in result.output
    assert result.exit_code in (1, 2)
    return " ".join(result.output.split())


def test_bad_input(workplace: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(
        "MLFLOW_TRACKING_URI", f"sqlite:///{workplace}/own.db"
    )  # other tests' runs are in the shared one
    run, _ = _random_run(workplace / "cot", 5)
    assert "no finished run of cot-neurons.discover" in _refused()
    assert "did you mean 'cot'" in _refused("--neurons", str(workplace / "cott"))
    assert "name the folder" in _refused("--neurons", str(run / "tables" / "neurons.parquet"))
    assert "names cot twice" in _refused("--neurons", f"{run},{run}")
    single, _ = _random_run(workplace / "single", 6, rows=1)
    assert "one item" in _refused("--neurons", str(single))
    assert "--repeats" in _refused("--neurons", str(run), "--repeats", "1")
    table = run / "tables" / "activations.parquet"
    table.write_bytes(table.read_bytes()[:-9])
    assert "activations.parquet" in _refused("--neurons", str(run))
