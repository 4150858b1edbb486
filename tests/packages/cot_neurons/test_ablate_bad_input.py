"""Every mistake a user makes with `ablate` gets one clear message, and what can be measured is."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from cot_neurons.cli import app
from typer.testing import CliRunner

from tests.packages.cot_neurons import ablate_subjects as subjects
from tests.packages.cot_neurons import made


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, store: str):
    """A folder with the model, good tables and bad ones."""
    folder = tmp_path_factory.mktemp("bad")
    labels, items = subjects.labels(), subjects.items()
    subjects.save(folder / "planted")
    tested = labels.with_columns(auroc=pl.lit(0.8), specific_auroc=pl.Series([0.55, 0.6, 0.65]))
    files = {
        "items": items,
        "labels": labels,
        "tested": tested,
        "stranger": subjects.labels(model="big"),
        "beyond": subjects.labels({"add": (1, 16)}),
        "deep": subjects.labels({"add": (4, 0)}),
        "nothing": labels.clear(),
        "wrong": items.with_columns(model=pl.lit("big")),
        "silent": items.with_columns(new_ids=pl.lit([], dtype=pl.List(pl.Int64)), new_tokens=pl.lit(0, pl.Int64)),
        "gapped": items.drop("solution"),
    }
    for name, frame in files.items():
        made.save(frame, folder / f"{name}.parquet")
    (folder / "empty.txt").write_text("")
    (folder / "blank.txt").write_text(" \n")
    (folder / "one.txt").write_text("apples")
    (folder / "latin.txt").write_bytes(b"caf\xe9 \xff")
    (folder / "folder").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", store)
        made.draw_nothing(patch)
        yield folder


def _ask(**given: str) -> tuple[int, str]:
    options = {
        "model": "planted", "items": "items.parquet", "labels": "labels.parquet", "min-auroc": "0", "draws": "1",
        "controls": "random", **given,
    }  # fmt: skip
    result = CliRunner().invoke(
        app, ["ablate", *(word for name, value in options.items() for word in (f"--{name}", value))]
    )
    assert "Traceback" not in result.output
    return result.exit_code, " ".join(result.output.split())


MISTAKES: dict[str, tuple[dict[str, str], list[str]]] = {
    "concept": ({"concepts": "ad"}, ["--concepts ad", "did you mean 'add'"]),
    "amounts": ({"mode": "zero", "amounts": "0.5"}, ["--amounts", "zero", "noise", "scale"]),
    "no-number": ({"mode": "noise", "amounts": "nan"}, ["--amounts", "finite"]),
    "mode": ({"mode": "silence"}, ["--mode", "silence", "zero"]),
    "auroc": ({"labels": "tested.parquet", "min-auroc": "0.7"}, ["--min-auroc 0.7", "3 labels", "0.65"]),
    "untested": ({"min-auroc": "0.7"}, ["--min-auroc 0.7", "none was tested"]),
    "other-models-labels": ({"labels": "stranger.parquet"}, ["--labels", "'big'", "'planted'", "label"]),
    "neuron": ({"labels": "beyond.parquet"}, ["--labels", "L1N16", "4 layers of 16"]),
    "layer": ({"labels": "deep.parquet"}, ["--labels", "L4N0", "4 layers of 16"]),
    "no-labels": ({"labels": "nothing.parquet"}, ["--labels", "nothing.parquet", "no rows", "label"]),
    "no-such-labels": ({"labels": "label.parquet"}, ["label.parquet", "labels.parquet"]),
    "items-as-labels": ({"labels": "items.parquet"}, ["'items'", "'concept' is missing"]),
    "other-models-items": ({"items": "wrong.parquet"}, ["--items", "'big'", "'planted'", "infer"]),
    "silent": ({"items": "silent.parquet"}, ["no chain", "nothing was generated"]),
    "column": ({"items": "gapped.parquet"}, ["solution", "missing"]),
    "task": ({"task": "labels.parquet"}, ["'labels'", "'variant' is missing"]),
    "other-models-task": ({"task": "wrong.parquet"}, ["--task", "'big'", "'planted'"]),
    "no-task": ({"task": "folder"}, ["folder/tables/items.parquet"]),
    "no-text": ({"text": "latin.txt"}, ["--text", "latin.txt", "UTF-8"]),
    "missing-text": ({"text": "absent.txt"}, ["absent.txt"]),
    "text-folder": ({"text": "folder"}, ["--text", "folder"]),
    "empty-text": ({"text": "empty.txt"}, ["--text", "empty.txt", "fewer than two tokens"]),
    "blank-text": ({"text": "blank.txt"}, ["--text", "blank.txt", "fewer than two tokens"]),
    "one-token": ({"text": "one.txt"}, ["--text", "one.txt", "fewer than two tokens"]),
}


@pytest.mark.parametrize(("given", "words"), MISTAKES.values(), ids=list(MISTAKES))
def test_mistakes_are_told(place: Path, given: dict[str, str], words: list[str]):
    before = {file: file.read_bytes() for file in sorted(place.glob("*.parquet"))}
    code, output = _ask(**given)
    assert code in (1, 2)
    for word in words:
        assert word in output, output
    assert {file: file.read_bytes() for file in sorted(place.glob("*.parquet"))} == before


def test_items_without_a_reference_solution_are_still_answered(place: Path, capsys: pytest.CaptureFixture[str]):
    """As SVAMP's: answers are scored, what needs a solution is left out, and the person is told."""
    made.save(subjects.items(solution=pl.lit(None, pl.String)), place / "bare.parquet")
    folder = subjects.run(place, items="bare.parquet", labels="labels.parquet", mode="zero", concepts=("equals_to",))
    metrics = set(subjects.table(folder, "effects")["metric"])
    assert metrics == {"strict", "flexible", "no_answer", "true +"}
    assert subjects.targets(folder, "effects")["equals_to", 1.0].filter(metric="strict")["change"].item() == -1
    outcomes = subjects.table(folder, "outcomes")
    assert outcomes["logp_gold"].null_count() == outcomes["logp_rest"].null_count() == len(outcomes)
    assert "3 problems have no reference solution" in capsys.readouterr().err


def test_some_items_without_a_solution_leave_the_others_alone(place: Path):
    solution = pl.when(pl.col("row") == 1).then(None).otherwise(pl.col("solution"))
    made.save(subjects.items(solution=solution), place / "some.parquet")
    folder = subjects.run(place, items="some.parquet", labels="labels.parquet", mode="zero", concepts=("add",))
    rows = subjects.targets(folder, "effects")["add", 1.0]
    told: dict[str, Any] = dict(rows.select("metric", "n").rows())
    assert (told["strict"], told["logp +"], told["solved +"], told["odds answer"]) == (3, 2, 2, 2)


def test_a_solution_beyond_the_context_is_not_read(place: Path, capsys: pytest.CaptureFixture[str]):
    """The planted model has a context of 512 tokens; its problem is answered all the same."""
    long = pl.concat_str([pl.lit("apples " * 500), pl.col("solution")])
    made.save(subjects.items(solution=long), place / "long.parquet")
    folder = subjects.run(place, items="long.parquet", labels="labels.parquet", mode="zero", concepts=("equals_to",))
    assert "logp rest" not in set(subjects.table(folder, "effects")["metric"])
    assert subjects.targets(folder, "effects")["equals_to", 1.0].filter(metric="strict")["change"].item() == -1
    assert "does not fit the model's context" in capsys.readouterr().err


def test_one_item_is_enough(place: Path):
    folder = subjects.run(place, labels="labels.parquet", mode="zero", limit=1)
    effects = subjects.table(folder, "effects")
    assert set(effects["n"]) == {1}
    assert effects["low"].null_count() == len(effects)


def test_controls_that_cannot_be_drawn_are_told(place: Path, capsys: pytest.CaptureFixture[str]):
    """One concept alone has no other one's neurons; the target is run all the same."""
    made.save(subjects.labels({"add": (1, 5)}), place / "alone.parquet")
    folder = subjects.run(place, labels="alone.parquet", mode="zero", controls=("other", "random"), draws=20)
    output = capsys.readouterr().err
    assert "add: 0 of 20 control draws of kind other" in output
    assert "add: 15 of 20 control draws of kind random" in output  # a layer of sixteen
    assert set(subjects.table(folder, "tests")["control"]) == {"random"}
    folder = subjects.run(place, labels="alone.parquet", mode="zero", controls=("other",))
    assert subjects.table(folder, "tests").is_empty()
    assert subjects.targets(folder, "effects")["add", 1.0].filter(metric="solved +")["change"].item() == -1


def test_a_text_is_read_in_stretches_and_to_its_end(place: Path, monkeypatch: pytest.MonkeyPatch):
    """Fifty tokens, of which the first of each stretch is only read; a limit cuts off the last stretch."""
    (place / "long.txt").write_text(" apples" * 50)
    monkeypatch.setattr("cot_neurons.ablate._WINDOW", 20)
    for limit, lengths in ((3, [19, 19, 9]), (2, [19, 19])):
        folder = subjects.run(
            place, labels="labels.parquet", mode="zero", text="long.txt", limit=limit, concepts=("add",)
        )
        text = subjects.table(folder, "outcomes").filter(source="text", condition=0)
        assert text["rest"].to_list() == lengths
