"""The pipeline `memreason`, small: every stage a child run, all arms on one page, and nothing done twice."""

from pathlib import Path

import mlflow
import polars as pl
import pytest
from reasonscope.options import MemreasonOptions
from reasonscope.recall import memreason

STAGES = {"toy", "train", "evaluate", "steer", "attention", "neurons", "errors", "report"}


def test_every_stage_is_a_child_of_one_run_and_is_done_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    options = MemreasonOptions(arms=("none", "typed"), questions=160, test=8, epochs=2, device="cpu", at_once=1)
    memreason(options)

    runs = mlflow.search_runs(search_all_experiments=True)
    parent = runs[runs["tags.stage"] == "pipelines.memreason"]["run_id"].item()
    children = runs[runs["tags.mlflow.parentRunId"] == parent]
    assert set(children["tags.stage"]) == {f"memreason.{stage}" for stage in STAGES}
    assert set(children["status"]) == {"FINISHED"}
    assert sum(children["tags.stage"] == "memreason.train") == 2
    answers = [pl.read_parquet(path) for path in tmp_path.glob("runs/memreason.evaluate-*/tables/answers.parquet")]
    assert sorted(each["arm"][0] for each in answers) == ["none", "typed"]
    assert len({tuple(each["question"]) for each in answers}) == 1  # both arms are asked the same
    (page,) = tmp_path.glob("runs/memreason.report-*/report.html")
    assert all(arm in page.read_text() for arm in ("none", "typed"))

    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/tables/*.parquet")}
    memreason(options)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/tables/*.parquet")} == before
