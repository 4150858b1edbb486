"""The pipeline `atlas`, small: what is not named is made as children of one run, and nothing is done twice."""

import json
from pathlib import Path

import mlflow
import polars as pl
import pytest
from reasonscope.atlas import atlas
from reasonscope.options import AtlasOptions
from specimens import families

MADE = {"expgen.exemplars", "expgen.describe", "expgen.score", "memreason.import", "memreason.neurons"}


def test_what_is_not_named_is_made_and_joined_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    families.save("llama", tmp_path / "model", families.Shape(context=256))
    texts = [f"Question: Ann has 2 apples and gets {n % 4} more. 2 + 3 = 5 so make 5" for n in range(160)]
    texts = [f"{text} {' '.join(text.split()[n % 7 :] + text.split()[: n % 11])}" for n, text in enumerate(texts)]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    steps = [{"question": f"{n} apples", "answer": f"{n} + 1 = {n + 1}\n#### {n + 1}"} for n in range(6)]
    steps += [{"question": f"{n} make", "answer": f"Ann has {n}\n#### Ann"} for n in range(6)]
    (tmp_path / "steps.jsonl").write_text("".join(json.dumps(row) + "\n" for row in steps))
    unread = {"data": "texts.jsonl", "task": "none", "text": "none", "labels": "none"}
    options = AtlasOptions(model="model", texts=("texts.jsonl",), steps="steps.jsonl", device="cpu", **unread)
    folder = atlas(options)

    runs = mlflow.search_runs(search_all_experiments=True)
    parent = runs[runs["tags.stage"] == "pipelines.atlas"]["run_id"].item()
    children = runs[runs["tags.mlflow.parentRunId"] == parent]
    assert set(children["tags.stage"]) == MADE
    assert set(children["status"]) == {"FINISHED"}
    neurons = pl.read_parquet(folder / "tables" / "neurons.parquet")
    assert len(neurons) == 2 * neurons.select("layer", "neuron").n_unique()
    assert neurons["selective"].null_count() == 0
    best = pl.concat(map(pl.read_parquet, tmp_path.glob("runs/expgen.score-*/tables/best.parquet")))
    assert neurons["description"].count() == best["description"].count() > 0
    assert neurons["concepts"].count() == 0  # nobody labelled
    assert "cot-neurons label (--labels)" in (folder / "report.html").read_text()

    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/tables/*.parquet")}
    assert atlas(options) == folder
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/tables/*.parquet")} == before
