"""What users write to name a run, a file, a specimen or a hub id."""

from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pandera.polars as pa
import polars as pl
import pytest
import runkit
from runkit import refs, state
from runkit.errors import UsageError
from runkit.options import Options


class Numbers(pa.DataFrameModel):
    number: int


def make_run(stage: str = "toy.numbers", **options: int) -> Path:
    with runkit.stage(stage, Options(**options)) as run:
        run.table("numbers", pl.DataFrame({"number": [1]}), Numbers)
    return run.folder


def test_paths_stand_for_themselves_and_folders_for_their_artifacts(here: Path):
    folder = make_run()
    assert refs.resolve(str(folder)) == folder
    assert refs.resolve(folder, artifact="tables/numbers.parquet") == folder / "tables" / "numbers.parquet"
    assert refs.resolve("data.jsonl", artifact="tables/numbers.parquet") == Path("data.jsonl")
    with pytest.raises(UsageError, match=r"did you mean 'numbers\.parquet'"):
        refs.resolve(folder, artifact="tables/number.parquet")


@pytest.mark.usefixtures("here")
def test_a_run_is_found_by_its_folder_name_and_by_its_mlflow_id():
    folder = make_run()
    (folder / state.STATE).write_text('{"uri": "http://x", "run_id": "abc123", "offset": 0}')
    assert refs.resolve(f"run:{folder.name}") == Path("runs") / folder.name
    assert refs.resolve("run:abc123", artifact="manifest.json") == Path("runs") / folder.name / "manifest.json"
    assert refs.resolve("runs:/abc123/tables/numbers.parquet").name == "numbers.parquet"


@pytest.mark.usefixtures("here")
def test_specimens_are_found_by_entry_point(monkeypatch: pytest.MonkeyPatch):
    entry = EntryPoint("tiny", f"{__name__}:specimen", refs.SPECIMENS)
    monkeypatch.setattr(EntryPoint, "load", lambda self: specimen)
    monkeypatch.setattr(refs, "entry_points", lambda group: [entry] if group == "reasonscope.specimens" else [])
    assert refs.resolve("specimen:tiny") == Path("/somewhere")
    with pytest.raises(UsageError, match="specimen:tinny: no such specimen; did you mean 'tiny'"):
        refs.resolve("specimen:tinny")


def specimen() -> Path:
    return Path("/somewhere")


@pytest.mark.parametrize(
    "text", ["gpt2", "openai/gsm8k", "meta-llama/Llama-3.1-8B", "openai/gsm8k:main", "tiny.stories"]
)
def test_what_could_be_a_hub_id_stays_one(here: Path, text: str):
    if text == "tiny.stories":
        with pytest.raises(UsageError):
            refs.locate(text)
    else:
        assert refs.locate(text) == text


@pytest.mark.parametrize(
    "text", ["test.jsonl", "./gpt2", "/nowhere/gpt2", "data/test.jsonl", "a/b/c", "model dir", "", "known/gpt3", "../x"]
)
def test_what_can_only_be_a_path_is_told_to_be_missing(here: Path, text: str):
    (here / "known").mkdir()
    (here / "known" / "gpt2").touch()
    with pytest.raises(UsageError, match="no such file or folder"):
        refs.locate(text)


def test_a_missing_path_names_the_nearest(here: Path):
    with pytest.raises(UsageError, match=r"dta\.jsonl: no such file or folder; did you mean 'data\.jsonl'"):
        refs.resolve("dta.jsonl")


@pytest.mark.usefixtures("here")
def test_resolve_wants_something_local():
    with pytest.raises(UsageError, match="gpt2: no such file or folder"):
        refs.resolve("gpt2")


@pytest.fixture
def own_store(here: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here}/mlflow.db")
    return lambda: monkeypatch.setenv("REASONSCOPE_MLFLOW", "on")


def test_latest_is_the_newest_finished_run_of_the_stage(here: Path, own_store: Callable[[], None]):
    """Here, then in MLflow, where it may have been written to another folder."""
    make_run()
    newest = make_run(seed=1)
    make_run("toy.other", seed=2)
    with pytest.raises(ZeroDivisionError), runkit.stage("toy.numbers", Options(seed=3)):
        _ = 1 / 0
    assert refs.resolve("latest", stage="toy.numbers").name == newest.name
    assert refs.resolve("latest", stage="toy.numbers", artifact="manifest.json").parent.name == newest.name
    with pytest.raises(UsageError, match=r"no finished run of toy\.none, .* run `toy none` first"):
        refs.resolve("latest", stage="toy.none")
    with pytest.raises(UsageError, match="not clear of which stage"):
        refs.resolve("latest")

    own_store()
    elsewhere = make_run(out=here / "elsewhere", seed=4)
    assert refs.resolve("latest", stage="toy.numbers") == elsewhere
    run_id = state.State.read(elsewhere).run_id
    assert refs.resolve(f"run:{run_id}", artifact="manifest.json") == elsewhere / "manifest.json"
    for path in sorted(elsewhere.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    table = refs.resolve(f"runs:/{run_id}/tables/numbers.parquet")  # only MLflow has it now
    assert pl.read_parquet(table)["number"].to_list() == [1]
    with pytest.raises(UsageError, match="run:nobody: no such run below runs/"):
        refs.resolve("run:nobody")
