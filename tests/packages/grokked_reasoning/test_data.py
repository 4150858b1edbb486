"""The stage `data`: what it writes is what is read, audited and counted; worlds of the paper's size."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import orjson
import polars as pl
import pytest
from grokked_reasoning import dataset
from grokked_reasoning.cli import app
from grokked_reasoning.data import data, made
from grokked_reasoning.worlds import files
from grokked_reasoning.worlds.made import Row
from runkit.errors import DataError, UsageError
from typer.testing import CliRunner

from tests.packages.grokked_reasoning import plain_worlds as plain
from tests.packages.grokked_reasoning.data_runs import options, written

WORLDS = [
    {"task": "composition", "hops": 3, "identity": True, "phi": 3.0},
    {"task": "composition", "entity_tokens": 2},
    {"task": "comparison"},
    {"task": "complex-reasoning"},
]


@pytest.mark.parametrize("given", WORLDS)
def test_rows_are_read_as_they_were_written(tmp_path: Path, given: dict[str, str]):
    folder = written(tmp_path, **given)
    read, target = dataset.read(folder), dataset.read(folder, "target")
    assert read.world.task == given["task"]
    for name, rows, whole in (("train", read.train, target.train), ("test", read.test, target.test)):
        told = plain.rows(folder, name)
        assert len(rows) == len(told)
        assert rows.kinds.tolist() == [row.get("type", "") for row in told]
        for i, row in enumerate(told):
            words = [read.vocabulary.strings[each] for each in whole.ids[i, : whole.start[i] + whole.length[i]]]
            assert "".join(words) == row["target_text"]
            assert "".join(words[: whole.start[i]]) == row["input_text"]
            asked = "".join(words[rows.start[i] : rows.start[i] + rows.length[i]])
            assert plain.answer(row) in (f"{asked}</a>", f"<a>{asked}</a>")
            assert rows.length[i] == given.get("entity_tokens", 1)


@pytest.mark.parametrize("given", WORLDS)
def test_world_json_says_what_the_types_are(tmp_path: Path, given: dict[str, str]):
    world, rows = dataset.read(written(tmp_path, **given)).world, plain.by_type(tmp_path)
    train = {row["input_text"] for row in plain.rows(tmp_path, "train")}
    assert {*world.trained, *world.id, *world.ood} <= rows.keys()
    for kind, found in rows.items():
        assert (found.keys() <= train) == (kind in world.trained), kind
        assert kind in world.trained or not found.keys() & train


def test_a_run_counts_what_it_wrote_and_is_done_once(workplace: Path):
    folder = data(options(task="comparison", out=workplace / "made"))
    splits = pl.read_parquet(folder / "tables" / "splits.parquet")
    counted = {(file, kind): rows for file, kind, rows in splits.iter_rows()}
    names = ("train", "valid", "test")
    assert counted == {
        (name, kind): rows
        for name in names
        for kind, rows in Counter(row["type"] for row in plain.rows(folder / "data", name)).items()
    }
    assert json.loads((folder / "data" / "world.json").read_text())["rows"] == {
        name: {kind: rows for (file, kind), rows in counted.items() if file == name} for name in names
    }
    before = {path: path.stat().st_mtime_ns for path in (folder / "data").iterdir()}
    assert data(options(task="comparison", out=workplace / "made")) == folder
    assert {path: path.stat().st_mtime_ns for path in (folder / "data").iterdir()} == before


def test_rows_without_a_type_are_counted_by_it(workplace: Path):
    folder = data(options(hops=3, phi=1.0, seed=3))
    splits = pl.read_parquet(folder / "tables" / "splits.parquet").filter(file="train")
    lengths = Counter(row["input_text"].count("<r_") for row in plain.rows(folder / "data", "train"))
    assert dict(splits.select("type", "rows").iter_rows()) == {
        "id_atomic": 730, "ood_atomic": 38, "train_inferred": 730, "train_inferred_3hop": 730
    }  # fmt: skip
    assert lengths == {1: 768, 2: 730, 3: 730}
    world = dataset.read(folder / "data").world.facts
    assert (world["options"]["seed"], world["sizes"]["phi"], world["sizes"]["entities"]) == (3, 1.0, 48)


def test_the_command_line_names_what_is_wrong(workplace: Path):
    result = CliRunner().invoke(app, ["data", "--task", "comparison", "--degree", "3"])
    assert result.exit_code == 2
    assert "--degree is an option of --task composition; comparison has no use for it" in result.stderr


def test_a_test_row_in_training_is_found(tmp_path: Path):
    world = made(options())
    leaked = next(row for row in world.test if row.kind == "test_inferred_io")
    train = [*world.train, leaked._replace(kind="train_inferred")]
    with pytest.raises(
        DataError, match=f"{leaked.prompt}: test_inferred_io in test.json, train_inferred in train.json"
    ):
        files.write(tmp_path, replace(world, train=train), {"task": "composition"})
    assert not list(tmp_path.iterdir())


def test_a_training_row_that_is_not_in_training_is_found(tmp_path: Path):
    world = made(options())
    lost = next(row for row in world.test if row.kind == "id_atomic")
    kept = [row for row in world.train if row.prompt != lost.prompt]
    with pytest.raises(DataError, match=f"{lost.prompt} stands in test.json as a training row, and not in train.json"):
        files.write(tmp_path, replace(world, train=kept), {"task": "composition"})


def test_a_fact_on_both_sides_is_found(tmp_path: Path):
    world = made(options())
    twice = world.facts.head(1).with_columns(split=pl.lit("ood"))
    with pytest.raises(DataError, match=r"facts: <e_0> has <r_[0-9]+> twice"):
        files.write(tmp_path, replace(world, facts=pl.concat([world.facts, twice])), {"task": "composition"})
    with pytest.raises(UsageError, match=r"no data folder: vocab.json is missing"):
        dataset.read(tmp_path)


def test_a_world_without_training_rows_is_still_a_list(tmp_path: Path):
    world = replace(made(options()), train=[], test=[Row("<e_0>", "<e_1></a>", "test_inferred_iid")])
    files.write(tmp_path, world, {"task": "composition"})
    assert plain.rows(tmp_path, "train") == []


def _folder(place: Path, vocabulary: str, train: list[dict[str, str]], test: list[dict[str, str]]) -> Path:
    for name, content in (("vocab", vocabulary.split()), ("train", train), ("test", test)):
        (place / f"{name}.json").write_text(json.dumps(content))
    return place


def _row(prompt: str, answer: str, kind: str | None = None) -> dict[str, str]:
    return {"input_text": prompt, "target_text": prompt + answer} | ({"type": kind} if kind else {})


def test_a_composition_folder_of_the_original_is_read(tmp_path: Path):
    train = [_row("<e_0><r_0>", "<e_1></a>"), _row("<e_0><r_0><r_1>", "<e_2></a>")]
    test = [_row("<e_1><r_0><r_1>", "<e_0></a>", "test_inferred_ood")]
    vocabulary = "<e_0> <e_1> <e_2> <r_0> <r_1> <mask> <sep> <a> </a> <q> </q>"
    read = dataset.read(_folder(tmp_path, vocabulary, train, test))
    assert (read.world.task, read.world.ood) == ("composition", ("test_inferred_ood",))
    assert read.train.ids.tolist() == [[0, 3, 1, 8, 0], [0, 3, 4, 2, 8]]
    assert read.train.start.tolist() == [2, 3]
    assert read.test.kinds.tolist() == ["test_inferred_ood"]


def test_a_comparison_folder_of_the_original_is_read(tmp_path: Path):
    rows = [
        _row("<e_0><attr_0>", "<1></a>", "id_atomic"),
        _row("<attr_0><q><e_0><mask><e_1>", "<attr_0_2></a>", "train_inferred"),
    ]
    vocabulary = "<e_0> <e_1> <attr_0> <0> <1> <mask> <sep> <a> </a> <q> </q> <attr_0_0> <attr_0_1> <attr_0_2>"
    read = dataset.read(_folder(tmp_path, vocabulary, rows, rows))
    assert read.world.task == "comparison"
    assert read.train.ids.tolist() == [[0, 2, 4, 8, 0, 0, 0], [2, 9, 0, 5, 1, 13, 8]]
    assert read.train.length.tolist() == [1, 1]


def test_a_complex_reasoning_folder_of_the_original_is_read(tmp_path: Path):
    train = [_row("<q><e_0><attr_0><mask></q>", "<a><1></a>", "id_atomic")]
    test = [_row("<attr_0><q><e_0><mask><e_1></q>", "<a><attr_0_2></a>", "test_hard")]
    vocabulary = "<e_0> <e_1> <attr_0> <0> <1> <mask> <sep> <a> </a> <q> </q> <attr_0_0> <attr_0_1> <attr_0_2>"
    read = dataset.read(_folder(tmp_path, vocabulary, train, test))
    assert (read.world.task, read.world.ood) == ("complex-reasoning", ("test_inferred_ood", "test_hard"))
    assert [read.test.prompt(0)[-1], read.test.start.tolist(), read.test.length.tolist()] == [7, [7], [1]]


WRITE_ALL = """
import sys
from pathlib import Path
from tests.packages.grokked_reasoning.data_runs import written
for task in ("composition", "comparison", "complex-reasoning"):
    written(Path(sys.argv[1], task), task=task, profile="paper")
    written(Path(sys.argv[2], task), task=task)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path, int]]:
    """Worlds made in another process: of the paper's size, of the default size, and its peak memory in KiB.

    Not `ru_maxrss`: a child starts with its parent's.
    """
    places = tmp_path_factory.mktemp("paper"), tmp_path_factory.mktemp("default")
    done = subprocess.run([sys.executable, "-c", WRITE_ALL, *places], capture_output=True, text=True, check=True)
    yield *places, int(done.stdout)
    shutil.rmtree(places[0])  # 180 MB


def test_another_process_writes_the_same_bytes(tmp_path: Path, elsewhere: tuple[Path, Path, int]):
    for folder in elsewhere[1].iterdir():
        here = written(tmp_path / folder.name, task=folder.name)
        assert {each.name: each.read_bytes() for each in folder.iterdir()} == {
            each.name: each.read_bytes() for each in here.iterdir()
        }


def test_worlds_of_the_papers_size(elsewhere: tuple[Path, Path, int]):
    paper, _, peak = elsewhere
    assert peak < 2 << 20
    told = {path.name: orjson.loads((path / "world.json").read_bytes()) for path in paper.iterdir()}
    rows = {task: world["rows"]["train"] for task, world in told.items()}
    assert rows["composition"] == {"id_atomic": 38_000, "ood_atomic": 2000, "train_inferred": 684_000}
    assert rows["comparison"] == {"id_atomic": 18_000, "ood_atomic": 2000, "train_inferred": 226_800}
    counts = {task: world["counts"] for task, world in told.items()}
    assert counts["composition"]["chains"] == 800_000
    assert counts["comparison"]["test_inferred_ood"] == 198_000
    assert counts["comparison"]["pool"] + counts["comparison"]["test_inferred_iid"] == 20 * 900 * 899
    assert rows["complex-reasoning"] == {
        "id_atomic": 18_000,
        "train_inferred_topleft": round(0.03 * counts["complex-reasoning"]["pool_topleft"]),
        "train_inferred_cross": 108_000,
    }
    assert told["complex-reasoning"]["rows"]["test"]["test_hard"] == 150
    assert told["composition"]["rows"]["test"]["test_inferred_iid"] == 3000
    assert [len(orjson.loads((paper / task / "vocab.json").read_bytes())) for task in sorted(told)] == [
        1106,
        1106,
        2206,
    ]
    with (paper / "composition" / "train.json").open("rb") as file:
        assert sum(line.startswith(b"{") for line in file) == 724_000
