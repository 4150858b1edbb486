"""`mlflow run` on this checkout: the run that MLflow opened holds what the stage found, parent and child."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from specimens import planted

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a shell in which this project's environment is active."""
    bin_folder = str(Path(sys.executable).parent)
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db", "VIRTUAL_ENV": str(Path(bin_folder).parent)}
    return {**os.environ, **store, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}


def test_a_pipeline_as_an_mlflow_project(tmp_path: Path, environment: dict[str, str]):
    planted.save(tmp_path / "model")
    asked = "Question: Ann has 2 apples and gets"
    texts = [f"{asked} {n % 4} more. 2 + 3 = 5 so make 5 {' '.join(asked.split()[n % 5 :])}" for n in range(40)]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    given = {"model": tmp_path / "model", "data": tmp_path / "texts.jsonl", "k": 3, "out": tmp_path / "whole"}
    words = [word for name, value in given.items() for word in ("-P", f"{name}={value}")]
    ran = subprocess.run(
        ["mlflow", "run", str(ROOT), "-e", "pipelines.expgen", "--env-manager", "local", *words],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr

    import mlflow

    client = mlflow.MlflowClient(environment["MLFLOW_TRACKING_URI"])
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
    by_stage = {run.data.tags["stage"]: run for run in runs}
    stages = {f"expgen.{stage}" for stage in ("exemplars", "verify", "describe", "score", "report")}
    assert set(by_stage) == {"pipelines.expgen", *stages}
    assert len(runs) == len(by_stage)
    assert {run.info.status for run in runs} == {"FINISHED"}
    parent = by_stage["pipelines.expgen"]
    assert {by_stage[stage].data.tags["mlflow.parentRunId"] for stage in stages} == {parent.info.run_id}
    exemplars = by_stage["expgen.exemplars"]
    assert exemplars.data.params["model"] == str(tmp_path / "model")
    assert exemplars.data.metrics["sequences"] > 0
    assert [each.dataset.name for each in exemplars.inputs.dataset_inputs]
    assert {each.path for each in client.list_artifacts(parent.info.run_id)} >= {"report.html", "figures", "tables"}
