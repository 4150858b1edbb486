"""The pipeline `expgen`, small: every stage a child run, a page and a database, and nothing done twice."""

import json
import sqlite3
from pathlib import Path

import mlflow
import pytest
from reasonscope.describing import expgen
from reasonscope.options import ExpgenOptions
from specimens import planted

STAGES = {"exemplars", "verify", "describe", "score", "report"}


def test_every_stage_is_a_child_of_one_run_and_is_done_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    planted.save(tmp_path / "model")
    texts = [f"Question: Ann has 2 apples and gets {n % 4} more. 2 + 3 = 5 so make 5" for n in range(60)]
    texts = [f"{text} {' '.join(text.split()[n % 7 :])}" for n, text in enumerate(texts)]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    options = ExpgenOptions(model="model", data=("texts.jsonl",), k=3, device="cpu")
    expgen(options)

    runs = mlflow.search_runs(search_all_experiments=True)
    parent = runs[runs["tags.stage"] == "pipelines.expgen"]["run_id"].item()
    children = runs[runs["tags.mlflow.parentRunId"] == parent]
    assert set(children["tags.stage"]) == {f"expgen.{stage}" for stage in STAGES}
    assert set(children["status"]) == {"FINISHED"}
    (page,) = tmp_path.glob("runs/expgen.report-*")
    plus = next(plant for plant in planted.PLANTS if plant.fires_on == (" +",))
    with sqlite3.connect(page / "neurons.sqlite") as database:
        asked = "SELECT description FROM best WHERE layer = ? AND neuron = ? AND polarity = '+'"
        (said,) = database.execute(asked, (plus.layer, plus.neuron)).fetchone()
    assert '"+"' in said
    assert "fires on" in (page / "report.html").read_text()

    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/tables/*.parquet")}
    expgen(options)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/tables/*.parquet")} == before
