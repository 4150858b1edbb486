"""The pipeline `atlas`, small: what is not named is made as children of one run, and nothing is done twice."""

import json
from pathlib import Path

import mlflow
import polars as pl
import pytest
import runkit
from reasonscope.atlas import atlas
from reasonscope.neurons.making import Making
from reasonscope.options import AtlasOptions
from runkit.errors import DataError
from specimens import families

MADE = {"expgen.exemplars", "expgen.describe", "expgen.score", "memreason.import", "memreason.neurons"}


def test_attribution_is_left_out_where_its_prompt_does_not_fit_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The questions fit as they are; with the demonstrations of direct answers before them they do not."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    families.save("gpt2", tmp_path / "model", families.Shape(context=128))
    rows = [{"question": f"Ann has {n} apples and gets 2 more.", "answer": f"#### {n + 2}"} for n in range(4)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = AtlasOptions(model="model", data="rows.jsonl", task="none", text="none", steps="rows.jsonl", device="cpu")
    with runkit.stage("pipelines.atlas", options) as run:
        making = Making(run, options)
        assert making._attribution() is None
    assert "does not fit the model with --shots 2 (--attribution none" in making.why["attribution"]
    (tmp_path / "rows.jsonl").write_text('{"question": 3}\n')
    with (
        runkit.stage("pipelines.atlas", options) as run,
        pytest.raises(DataError, match=r"rows\.jsonl: no column 'answer'"),
    ):
        Making(run, options)._attribution()


def test_what_is_not_named_is_made_and_joined_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    families.save("llama", tmp_path / "model", families.Shape(layers=2, d_mlp=16, context=256))
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
