"""The pipeline `grokking`, a few steps long: every stage a child run, one page, and no process that outlives it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pytest
from runkit.errors import UsageError
from runkit.lock import Lock

COMMAND = [sys.executable, "-c", "from reasonscope.cli import main; main()", "grokking", "--limit", "8"]


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    store = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    return {**os.environ, "MLFLOW_TRACKING_URI": store, "OMP_NUM_THREADS": "1"}


def test_every_stage_is_a_child_of_one_run(tmp_path: Path, environment: dict[str, str]):
    few = [*COMMAND, "--max-steps", "6", "--comparison-steps", "6", "--device", "cpu"]
    done = subprocess.run(few, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    runs = mlflow.search_runs(search_all_experiments=True)
    parent = runs[runs["tags.stage"] == "pipelines.grokking"]["run_id"].item()
    children = runs[runs["tags.mlflow.parentRunId"] == parent]
    stages = sorted(name.removeprefix("grokked-reasoning.") for name in children["tags.stage"])
    assert stages == ["data", "data", "report", "trace", "trace", "train", "train", "train"]
    assert set(children["status"]) == {"FINISHED"}
    (page,) = tmp_path.glob("runs/grokked-reasoning.report-*/report.html")
    text = page.read_text()
    assert "Composition, 2 layers run 2 times" in text
    assert "Comparison, 4 layers" in text


def test_trainings_end_with_a_pipeline_that_is_killed(tmp_path: Path, environment: dict[str, str]):
    process = subprocess.Popen(COMMAND, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    while not (begun := list(tmp_path.glob("runs/grokked-reasoning.train-*/journal.jsonl"))):
        assert process.poll() is None, "it ended before it trained"
        time.sleep(0.2)
    with pytest.raises(UsageError, match="is being written"):
        Lock(begun[0].parent)
    process.kill()
    process.wait()
    assert _free(begun[0].parent), "its training still runs"


def _free(folder: Path) -> bool:
    """Whether the folder's lock is let go of within a minute."""
    for _ in range(120):
        try:
            Lock(folder).release()
        except UsageError:
            time.sleep(0.5)
        else:
            return True
    return False
