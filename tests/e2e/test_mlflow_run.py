"""`mlflow run` on this checkout: the run that MLflow opened holds what the stage found, parent and child."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from specimens import families

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a shell in which this project's environment is active."""
    bin_folder = str(Path(sys.executable).parent)
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db", "VIRTUAL_ENV": str(Path(bin_folder).parent)}
    return {**os.environ, **store, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}


def test_the_demo_as_an_mlflow_project(tmp_path: Path, environment: dict[str, str]):
    model = families.save("llama", tmp_path / "tiny", families.Shape(context=256))
    data = tmp_path / "one.jsonl"
    data.write_text('{"question": "Ann has 2 pens and gets 3. How many?", "answer": "#### 5"}\n')
    given = {"model": model, "data": data, "limit": 1, "out": tmp_path / "demo"}
    words = [word for name, value in given.items() for word in ("-P", f"{name}={value}")]
    ran = subprocess.run(
        ["mlflow", "run", str(ROOT), "-e", "pipelines.demo", "--env-manager", "local", *words],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr

    import mlflow

    client = mlflow.MlflowClient(environment["MLFLOW_TRACKING_URI"])
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
    by_stage = {run.data.tags["stage"]: run for run in runs}
    assert set(by_stage) == {"pipelines.demo", "cot-neurons.infer", "cot-neurons.discover"}
    assert len(runs) == 3
    assert {run.info.status for run in runs} == {"FINISHED"}
    parent = by_stage["pipelines.demo"].info.run_id
    for stage in ("cot-neurons.infer", "cot-neurons.discover"):
        assert by_stage[stage].data.tags["mlflow.parentRunId"] == parent
        assert by_stage[stage].data.params["model"] == str(model)
    infer = by_stage["cot-neurons.infer"]
    assert infer.data.metrics["items"] == 1
    assert {each.path for each in client.list_artifacts(infer.info.run_id, "tables")} == {"tables/items.parquet"}
    assert [each.dataset.name for each in infer.inputs.dataset_inputs]
    figures = client.list_artifacts(by_stage["cot-neurons.discover"].info.run_id, "figures")
    assert {each.path for each in figures} == {"figures/chain.png", "figures/layers.png"}
