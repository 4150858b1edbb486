"""The stage `capacity`: models whose losses are known, sweeps that are cut off, and one that is really trained."""

from collections.abc import Callable
from math import comb, log2
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import polars as pl
import pytest
import torch
from grokked_reasoning import dataset, modeling, tables
from grokked_reasoning.capacities import sweep
from grokked_reasoning.capacities.measure import converged
from grokked_reasoning.capacities.questions import Exam, exam
from grokked_reasoning.capacities.sweep import heads
from grokked_reasoning.capacities.weigh import weigh
from grokked_reasoning.capacity import capacity
from grokked_reasoning.options import CapacityOptions, TrainOptions
from runkit.errors import DataError, UsageError
from runkit.tables import read
from transformers import AutoModelForCausalLM

from tests.packages.grokked_reasoning import small_world
from tests.packages.grokked_reasoning.data_runs import written

NAMES, DAYS = 100 * 100 * 200, 73_049


def _options(**given: Any) -> CapacityOptions:
    return CapacityOptions.model_validate({"device": "cpu", "threads": 1} | given)


def _knows_nothing(folder: Path, world: Path, layers: int = 1, width: int = 8) -> Path:
    """A run's folder with a model of zeros: every token is as likely as any other."""
    data = dataset.read(world)
    model: Any = modeling.build(
        len(data.vocabulary), layers=layers, width=width, heads=1, positions=data.positions, dropout=0.0
    )
    for each in model.parameters():
        each.data.zero_()
    place = folder / "checkpoints" / "checkpoint-7"
    model.save_pretrained(place)
    (place / "vocab.json").write_bytes((world / "vocab.json").read_bytes())
    return folder


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Exam:
    """The questions of 40 people, two of two hops for each of one."""
    return exam(dataset.read(written(tmp_path_factory.mktemp("w"), task="profiles", entities=40, phi=2.0)))


def test_a_model_of_zeros_loses_the_vocabulary_per_token(workplace: Path):
    world = written(workplace / "world", task="profiles", entities=30, phi=0.0)
    trained = _knows_nothing(workplace / "trained", world)
    found = read(
        capacity(_options(checkpoints=str(trained), data=str(world))) / "tables" / "capacity.parquet", tables.Capacity
    )
    facts = pl.read_parquet(world / "facts.parquet")
    token = log2(len(dataset.read(world).vocabulary))
    dates, cities = (facts.filter(relation=name)["tail"].n_unique() for name in ("birth_date", "birth_city"))
    named = 30 * (log2(NAMES) - log2(30))
    expected = {
        "hero": (3 * token, 30 * (log2(30) - 3 * token) + named / 17),
        "birth_date": (5 * token, 30 * (log2(dates) - 5 * token) + log2(comb(DAYS, dates))),
        "birth_city": (token, 30 * (log2(cities) - token)),
    }
    for attribute, (loss, bits) in expected.items():
        row = found.filter(scheme="per-attribute", attribute=attribute).row(0, named=True)
        assert (row["n"], row["loss"], row["capacity"]) == (30, pytest.approx(loss), pytest.approx(bits))
        assert (row["low"], row["high"]) == (pytest.approx(bits), pytest.approx(bits))
    total = found.filter(scheme="average").row(0, named=True)
    assert (total["people"], total["layers"], total["width"], total["converged"]) == (30, 1, 8, None)
    assert total["body_parameters"] == 12 * 8 * 8 + 13 * 8 + 2 * 8
    positions = dataset.read(world).positions
    assert total["parameters"] - total["body_parameters"] == 8 * (len(dataset.read(world).vocabulary) + positions)
    assert total["bits_per_parameter"] == total["capacity"] / total["parameters"]
    assert total["entropy"] > 0 > total["capacity"]


def test_questions_are_the_training_rows_by_what_they_ask_last(asked: Exam):
    facts = pl.read_parquet(asked.data.folder / "facts.parquet")
    strings = asked.data.vocabulary.strings
    known = {(head, relation): tail for head, relation, tail, _ in facts.iter_rows()}
    one_hop, two_hop = asked.questions["one-hop"], asked.questions["two-hop"]
    assert (len(one_hop), len(two_hop)) == (40 * 21, 2 * 40 * 21)
    for i in range(0, len(one_hop), 7):
        person = "".join(strings[each] for each in one_hop.ids[i][4:7]).strip()
        start = one_hop.start[i]
        said = "".join(strings[each] for each in one_hop.ids[i][start : start + one_hop.length[i]])
        assert said == " " + known[person, one_hop.kinds[i]]
    subjects = len(set(two_hop.kinds))
    assert subjects == 20  # one of 21 is never asked at the second hop
    assert asked.stored == 2 * 21 / subjects


def _lost(asked: Exam, losses: Callable[[int], np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    return {
        name: {str(kind): losses(int((rows.kinds == kind).sum())) for kind in sorted(set(rows.kinds))}
        for name, rows in asked.questions.items()
    }


def test_who_loses_nothing_knows_all_there_is_by_every_scheme(asked: Exam):
    found = weigh(asked, _lost(asked, np.zeros), "optimal", (1000, 600), 0)
    for row in found.iter_rows(named=True):
        assert row["capacity"] == row["low"] == row["high"] == row["entropy"]
        assert row["bits_per_parameter"] == row["capacity"] / 1000
    world = asked.world
    properties = sum(40 * world.entropy(name) for name in ("birth_date", "birth_city", "university", "employer"))
    extra = 40 * log2(NAMES / 40) + log2(comb(DAYS, world.values["birth_date"]))
    facts = 17 * 40 * log2(40) + properties
    totals = {(row["questions"], row["scheme"]): row for row in found.filter(attribute="all").iter_rows(named=True)}
    assert totals["one-hop", "average"]["entropy"] == pytest.approx(facts + extra)
    assert totals["one-hop", "per-attribute"]["entropy"] == pytest.approx(facts + extra)
    never = (set(world.values) - set(asked.questions["two-hop"].kinds)).pop()
    composed = facts - 40 * world.entropy(never)
    hashed = asked.stored * composed + extra
    assert totals["two-hop", "average"]["entropy"] == pytest.approx(composed + extra)
    assert totals["two-hop", "2-hop-big-hash"]["entropy"] == pytest.approx(hashed)
    assert totals["two-hop", "2-hop-double"]["entropy"] == pytest.approx(2 * composed - properties + extra)
    assert totals["both", "2-hop-big-hash"]["entropy"] == pytest.approx(hashed + facts)
    assert totals["both", "2-hop-big-hash"]["loss"] is None


def test_intervals_are_those_of_a_sum_of_means(asked: Exam):
    """C = N (sum H - sum of mean losses) + const: its variance is N^2 times the sum of the means' variances."""
    lost = _lost(asked, lambda n: np.random.default_rng(n).exponential(2.0, n))
    found = weigh(asked, lost, "optimal", (1000, 600), 3)
    row = found.filter(questions="one-hop", scheme="average").row(0, named=True)
    deviation = 40 * sum(each.var() / len(each) for each in lost["one-hop"].values()) ** 0.5
    assert (row["high"] - row["low"]) / 2 == pytest.approx(1.96 * deviation, rel=0.15)
    assert row["low"] < row["capacity"] < row["high"]


def _curves(folder: Path, losses: list[float]) -> Path:
    rows = [(100 * i, 1.0, "train_onehop", 10, 0.5, loss) for i, loss in enumerate(losses)]
    place = folder / "tables" / "curves.parquet"
    place.parent.mkdir(parents=True)
    pl.DataFrame(rows, ["step", "epoch", "type", "n", "accuracy", "nll"], orient="row").write_parquet(place)
    return folder


@pytest.mark.parametrize(
    ("late", "settled"), [([1.0, 1.0], True), ([1.01, 1.0], True), ([1.5, 1.0], False), ([9.0, 9.0], False)]
)
def test_converged_is_a_last_fifth_that_adds_little_to_what_is_known(
    tmp_path: Path, asked: Exam, late: list[float], settled: bool
):
    """Ten steps of 100; that at 800 is held against the last, 1000. A guess costs about 3.7 nats."""
    early, last = late
    folder = _curves(tmp_path, [6.0] * 8 + [early, (early + last) / 2, last])
    assert converged(folder, asked.world) is settled


def test_heads_divide_the_width():
    assert [heads(width) for width in (4, 8, 16, 32, 40, 56, 64, 96)] == [1, 1, 1, 2, 2, 2, 4, 6]


def _stand_in(calls: list[TrainOptions], stop_at: int | None = None) -> Callable[[TrainOptions], Path]:
    def train(options: TrainOptions) -> Path:
        calls.append(options)
        if len(calls) == stop_at:
            raise KeyboardInterrupt
        folder = Path(f"trained-{Path(options.data).name}-{options.width}")
        return _knows_nothing(folder, Path(options.data) / "data", options.layers or 0, options.width or 0)

    return train


@pytest.mark.usefixtures("drawn")
def test_a_sweep_that_is_cut_off_goes_on_and_ends_the_same(workplace: Path, monkeypatch: pytest.MonkeyPatch):
    grid = {"people": (10, 20), "widths": (8, 16), "layers": (1,), "exposures": 3, "batch_size": 50}
    calls: list[TrainOptions] = []
    monkeypatch.setattr(sweep, "train", _stand_in(calls, stop_at=3))
    with pytest.raises(KeyboardInterrupt):
        capacity(_options(**grid, out="cut"))
    monkeypatch.setattr(sweep, "train", _stand_in(calls))
    cut = capacity(_options(**grid, out="cut"))
    assert [(each.width, each.max_steps) for each in calls] == [(8, 13), (16, 13), (8, 26), (8, 26), (16, 26)]
    assert {(each.stop, each.dropout, each.schedule) for each in calls} == {("never", 0.0, "cosine")}
    whole = capacity(_options(**grid, out="whole"))
    one, other = (place / "tables" / "capacity.parquet" for place in (cut, whole))
    assert one.read_bytes() == other.read_bytes()
    sizes = read(one, tables.Capacity).select("people", "layers", "width").unique(maintain_order=True).rows()
    assert sizes == [(10, 1, 8), (10, 1, 16), (20, 1, 8), (20, 1, 16)]
    assert (cut / "figures" / "capacity.png").stat().st_size > 10_000


@pytest.mark.usefixtures("recorded")
def test_a_sweep_really_trains_and_its_losses_are_the_models_own(workplace: Path):
    grid = {"people": (20,), "layers": (1,), "batch_size": 70, "learning_rate": 1e-2, "phi": 1.0}
    place = capacity(_options(**grid, widths=(8, 24), exposures=20))
    found = read(place / "tables" / "capacity.parquet", tables.Capacity)
    per_width = found.filter(attribute="all", questions="one-hop", scheme="average").sort("width")
    assert per_width["capacity"][1] > per_width["capacity"][0]
    world = next(workplace.glob("runs/grokked-reasoning.data-*")) / "data"
    _check_losses(found.filter(width=24), _trained(workplace, 24), dataset.read(world))
    _check_nesting(place)
    before = _trained(workplace, 8).stat().st_mtime_ns
    again = capacity(_options(**grid, widths=(8,), exposures=20))
    assert _trained(workplace, 8).stat().st_mtime_ns == before
    assert read(again / "tables" / "capacity.parquet", tables.Capacity).equals(found.filter(width=8))
    run = _trained(workplace, 24).parents[1]
    alone = capacity(_options(checkpoints=str(run), data=str(world.parent), batch_size=70))
    assert read(alone / "tables" / "capacity.parquet", tables.Capacity).equals(found.filter(width=24))


def _trained(workplace: Path, width: int) -> Path:
    """The last checkpoint of the model of that width."""
    found = workplace.glob("runs/grokked-reasoning.train-*/checkpoints/checkpoint-240")
    return next(each for each in found if f'"n_embd": {width}' in (each / "config.json").read_text())


def _check_losses(found: pl.DataFrame, checkpoint: Path, read_data: dataset.Data) -> None:
    """Mean of -log2 p of the answers, one row at a time through plain Hugging Face."""
    model = AutoModelForCausalLM.from_pretrained(checkpoint).eval()
    rows, strings = read_data.train, read_data.vocabulary.strings
    lost: dict[tuple[str, str], list[float]] = {}
    for i in range(len(rows)):
        start, stop = rows.start[i], rows.start[i] + rows.length[i]
        prompt = "".join(strings[each] for each in rows.ids[i, :start])
        if not prompt.endswith((" hero? Answer:", " birth date? Answer:")):
            continue
        ids = torch.tensor(rows.ids[i : i + 1, :stop].astype(np.int64))
        with torch.no_grad():
            logs = model(ids).logits[0].log_softmax(-1)
        total = sum(float(logs[at - 1, ids[0, at]]) for at in range(start, stop))
        name = "birth_date" if "date?" in prompt else "hero"
        lost.setdefault(("two-hop" if prompt.count("'s ") == 2 else "one-hop", name), []).append(-total / np.log(2))
    assert len(lost) >= 3
    for (questions, attribute), losses in lost.items():
        row = found.filter(questions=questions, scheme="per-attribute", attribute=attribute).row(0, named=True)
        assert row["n"] == len(losses)
        assert row["loss"] == pytest.approx(np.mean(losses), rel=1e-4)


def _check_nesting(place: Path) -> None:
    """One world and two models are runs below the sweep's."""
    runs: Any = mlflow.search_runs(experiment_names=["reasonscope"], output_format="list")
    own = [run for run in runs if run.data.tags["reasonscope.folder"] == str(place)]
    assert len(own) == 1
    below = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == own[0].info.run_id]
    stages = sorted(run.data.tags["stage"] for run in below)
    assert stages == ["grokked-reasoning.data", "grokked-reasoning.train", "grokked-reasoning.train"]
    assert own[0].data.metrics["models"] == 2
    assert "two-hop 2-hop-double best bits per parameter" in own[0].data.metrics


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"checkpoints": "trained"}, "--checkpoints and --data go together"),
        ({"data": "world"}, "--checkpoints and --data go together"),
        ({"checkpoints": "trained", "data": "world", "widths": (8,)}, "--widths is for models yet to be trained"),
        ({"checkpoints": "trained", "data": "composed"}, "bits are counted for --task profiles"),
        ({"checkpoints": "trained", "data": "others"}, "was not trained on --data"),
    ],
)
def test_what_cannot_be_weighed_is_refused(workplace: Path, given: dict[str, Any], told: str):
    world = written(workplace / "world", task="profiles", entities=10, phi=0.0)
    written(workplace / "others", task="profiles", entities=12, phi=0.0)
    small_world.write(workplace / "composed")
    _knows_nothing(workplace / "trained", world)
    with pytest.raises((UsageError, DataError), match=told):
        capacity(_options(**given))
