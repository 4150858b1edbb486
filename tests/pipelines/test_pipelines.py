"""Every pipeline, small: its stages are children of one run, which holds its page, and nothing is done twice."""

import os
from pathlib import Path

import mlflow
import pytest

from tests.faults import pipelines
from tests.faults.killing import undisturbed
from tests.faults.pipelines import PIPELINES

STAGES = {
    "cot-neurons": "prompts infer discover label activity ablate attribute stability report",
    "grokking": "data train trace report",
    "memreason": "toy train evaluate steer attention neurons errors report",
}
TOLD = {
    "cot-neurons": ["add", "answer_only"],
    "grokking": ["run 2 times", "Comparison, ", "φ 1.6"],
    "memreason": ["none", "typed"],
}


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_is_a_child_of_one_run_and_is_done_once(name: str, processes, tmp_path: Path):
    place = tmp_path / "work"
    undisturbed(processes.Process(target=pipelines.prepare, args=(name, place)))
    undisturbed(processes.Process(target=pipelines.run, args=(name, place, "on")))

    client = mlflow.MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    recorded = client.search_runs([each.experiment_id for each in client.search_experiments()], max_results=1000)
    here = [run for run in recorded if run.data.tags["reasonscope.folder"].startswith(str(place))]
    assert {run.info.status for run in here} == {"FINISHED"}
    (parent,) = [run for run in here if run.data.tags["stage"] == f"pipelines.{name}"]
    children = [run for run in here if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert {run.data.tags["stage"].rpartition(".")[2] for run in children} == set(STAGES[name].split())
    assert len(here) == len(children) + 1 == PIPELINES[name].runs

    kept = {each.path for each in client.list_artifacts(parent.info.run_id)}
    assert {"report.html", "figures", "tables"} <= kept
    (page,) = place.glob(f"runs/pipelines.{name}-*/report.html")
    text = page.read_text()
    assert [told for told in TOLD[name] if told not in text] == []

    before = {path: path.stat().st_mtime_ns for path in place.glob("runs/*/tables/*.parquet")}
    undisturbed(processes.Process(target=pipelines.run, args=(name, place, "on")))
    assert {path: path.stat().st_mtime_ns for path in place.glob("runs/*/tables/*.parquet")} == before


def _of_two(place: Path) -> None:
    os.chdir(place)
    os.environ["REASONSCOPE_MLFLOW"] = "off"
    pipeline = PIPELINES["cot-neurons"]
    pipeline.shrink()
    pipeline.run(pipeline.options.model_copy(update={"limit": 2, "task": "none", "text": "none"}))


def test_two_problems_give_a_page_without_what_takes_more(processes, tmp_path: Path):
    place = tmp_path / "work"
    undisturbed(processes.Process(target=pipelines.prepare, args=("cot-neurons", place)))
    undisturbed(processes.Process(target=_of_two, args=(place,)))
    assert list(place.glob("runs/pipelines.cot-neurons-*/report.html"))
    assert not list(place.glob("runs/cot-neurons.stability-*"))
