"""A pipeline whose stages run side by side is killed: no process outlives it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from runkit.errors import UsageError
from runkit.lock import Lock

COMMAND = [sys.executable, "-c", "from reasonscope.cli import main; main()", "grokking", "--limit", "8"]


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    store = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    return {**os.environ, "MLFLOW_TRACKING_URI": store, "OMP_NUM_THREADS": "1"}


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
