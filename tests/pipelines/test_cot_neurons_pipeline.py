"""The pipeline `cot-neurons` on the shipped model, small: every stage a child run, one page, and nothing done twice."""

from pathlib import Path

import mlflow
import polars as pl
import pytest
from reasonscope.chain import cot_neurons
from reasonscope.options import CotNeuronsOptions

STAGES = {"prompts", "infer", "discover", "label", "activity", "ablate", "attribute", "stability", "report"}


@pytest.fixture
def done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    cot_neurons(_options())
    return tmp_path


def _options() -> CotNeuronsOptions:
    return CotNeuronsOptions(
        data="specimen:arithmetic-test", variants=("cot", "equation_only"), shots=1, limit=120, variant_limit=8,
        ablation_limit=4, draws=2, doses=(-1.0,), concepts=("multiply", "division"),
    )  # fmt: skip


@pytest.mark.timeout(600)
def test_every_stage_is_a_child_of_one_run_and_is_done_once(done: Path):
    runs = mlflow.search_runs(search_all_experiments=True)
    parent = runs[runs["tags.stage"] == "pipelines.cot-neurons"]["run_id"].item()
    children = runs[runs["tags.mlflow.parentRunId"] == parent]
    assert set(children["tags.stage"]) == {f"cot-neurons.{stage}" for stage in STAGES}
    assert set(children["status"]) == {"FINISHED"}

    pages = list(done.glob("runs/cot-neurons.report-*/report.html"))
    assert len(pages) == 1
    text = pages[0].read_text()
    conditions = [pl.read_parquet(path) for path in done.glob("runs/cot-neurons.ablate-*/tables/conditions.parquet")]
    neurons = {name for table in conditions for row in table.filter(kind="target")["neurons"] for name in row}
    assert neurons
    assert any(name in text for name in neurons)

    before = {path: path.stat().st_mtime_ns for path in done.glob("runs/*/tables/*.parquet")}
    cot_neurons(_options())
    assert {path: path.stat().st_mtime_ns for path in done.glob("runs/*/tables/*.parquet")} == before
