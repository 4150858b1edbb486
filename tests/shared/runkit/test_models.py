"""Models in MLflow: what a run made and used is listed, registered once, and found again by its address."""

import json
from pathlib import Path
from typing import Any

import pytest
import runkit
from pydantic import Field
from runkit import refs, runs
from runkit.options import INPUT, NAMED, Options
from runkit.replay import Replay
from runkit.state import STATE, State


class TrainOptions(Options):
    data: str = Field("data.jsonl", json_schema_extra=INPUT)
    arm: str = Field("typed", json_schema_extra=NAMED)
    rank: int = 16
    weights: str = "1 2 3"


class AskOptions(Options):
    model: str = Field(json_schema_extra=INPUT)
    data: str = Field("data.jsonl", json_schema_extra=INPUT)


def train(**options: Any) -> Path:
    with runkit.stage("toy.train", TrainOptions(**options)) as run:
        if not run.finished:
            (run.folder / "student").mkdir(exist_ok=True)
            (run.folder / "student" / "weights.txt").write_text(options.get("weights", "1 2 3"))
            run.model("student", kind="adapter")
            run.metrics({"dev_accuracy": 0.5})
    return run.folder


def ask(model: Path | str, **options: Any) -> Path:
    with runkit.stage("toy.ask", AskOptions(model=str(model), **options)) as run:
        if not run.finished:
            run.metrics({"accuracy": 0.75})
    return run.folder


def listed(client: Any, folder: Path) -> Any:
    """The models that the run has made, as MLflow lists them."""
    run = client.get_run(State.read(folder).run_id)
    return [client.get_logged_model(each.model_id) for each in run.outputs.model_outputs]


def again(folder: Path, **lost: Any) -> None:
    """As after a kill that took the note of what has been sent."""
    (folder / STATE).write_text(json.dumps({**json.loads((folder / STATE).read_text()), **lost}))
    Replay(folder).pump()


def test_a_model_is_listed_registered_and_found_by_its_address(here: Path, client: Any):
    folder = train(experiment="one")
    (model,) = listed(client, folder)
    assert (model.name, model.model_type, str(model.status)) == ("data-typed", "adapter", "READY")
    assert (model.params["rank"], model.params["arm"]) == ("16", "typed")
    (version,) = client.search_model_versions("name = 'data-typed'")
    assert (version.source, version.run_id) == (f"models:/{model.model_id}", State.read(folder).run_id)

    assert refs.resolve(f"models:/data-typed/{version.version}") == folder / "student"
    assert refs.resolve("models:/data-typed/latest", artifact="weights.txt") == folder / "student" / "weights.txt"
    moved = folder.rename(here / "moved")  # from here on only MLflow knows the files
    for text in (f"models:/data-typed/{version.version}", f"runs:/{version.run_id}/student"):
        found = refs.resolve(text)
        assert {each.name: each.read_text() for each in found.iterdir()} == {"weights.txt": "1 2 3"}
        assert moved not in found.parents
    whole = refs.resolve(f"run:{version.run_id}")
    assert (whole / "manifest.json").is_file()
    assert (whole / "student" / "weights.txt").read_text() == "1 2 3"


def test_bytes_are_in_the_store_once(client: Any):
    folder = train(experiment="two", weights="only here")
    run = client.get_run(State.read(folder).run_id)
    store = Path(run.info.artifact_uri).parents[1]
    assert len([path for path in store.rglob("weights.txt") if path.read_text() == "only here"]) == 1


def test_what_is_sent_twice_is_there_once(client: Any):
    folder = train(experiment="three", arm="none")
    asked = ask(folder, experiment="three")
    for place in (folder, asked):
        again(place, offset=0)
        again(place, offset=0, run_id=None)
    (model,) = listed(client, folder)
    used = client.get_run(State.read(asked).run_id).inputs.model_inputs
    assert [each.model_id for each in used] == [model.model_id]
    experiment = client.get_experiment_by_name("three").experiment_id
    assert len(client.search_logged_models([experiment])) == 1
    versions = client.search_model_versions("name = 'data-typed'")
    assert len({each.tags["reasonscope.digest"] for each in versions}) == len(versions)


def test_results_stand_beside_the_model_they_are_about(client: Any):
    folder = train(experiment="four", rank=8)
    ask(folder, experiment="four")
    (model,) = listed(client, folder)
    assert {each.key: each.value for each in model.metrics} == {"dev_accuracy": 0.5, "accuracy": 0.75}


def test_models_from_elsewhere_are_listed_by_name_and_content(here: Path, client: Any):
    (here / "gpt2.5").mkdir()
    (here / "gpt2.5" / "config.json").write_text("{}")
    for seed in (0, 1):
        ask("gpt2.5", seed=seed, experiment="five")
    ask("openai-community/gpt2", experiment="five")
    experiment = client.get_experiment_by_name("five").experiment_id
    assert {each.name for each in client.search_logged_models([experiment])} == {"gpt2-5", "openai-community-gpt2"}
    found = client.search_runs([experiment], "tags.model = 'openai-community/gpt2'")
    assert [each.info.run_name for each in found] == ["ask gpt2 data"]


@pytest.mark.usefixtures("here")
def test_runs_are_called_by_what_they_are_about(here: Path, client: Any):
    (here / "long").mkdir()
    (here / "long" / "a-data-set-with-a-very-long-name-indeed.jsonl").write_text("{}")
    experiment = {"experiment": "six"}
    taught = train(**experiment, seed=3)
    ask(taught, **experiment)
    ask(taught, **experiment, data="long/a-data-set-with-a-very-long-name-indeed.jsonl")
    with runkit.stage("pipelines.toy", Options(**experiment)):
        train(**experiment, arm="none", rank=4)
    found = client.search_runs([client.get_experiment_by_name("six").experiment_id], order_by=["start_time"])
    told = {each.info.run_name: each.data.tags for each in found}
    assert set(told) == {"train data typed seed 3", "ask data typed seed 3", "toy", "train data none"}
    assert told["ask data typed seed 3"]["model"] == "data typed seed 3"
    of_pipeline = {name for name, tags in told.items() if tags.get("pipeline") == "pipelines.toy"}
    assert of_pipeline == {"toy", "train data none"}
    assert told["train data typed seed 3"]["package"] == "toy"
    assert "### " not in told["train data none"]["mlflow.note.content"]
    assert "toy train --arm none --rank 4" in told["train data none"]["mlflow.note.content"]
    assert runs.results(taught) == {"dev_accuracy": 0.5}
