"""MLflow's own SQLite file: killed while it is made, it is made again."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from runkit import tracking

DIES_HALFWAY = """
import os, signal
from runkit import tracking
import mlflow.store.db.utils as utils
utils._upgrade_db = lambda engine: os.kill(os.getpid(), signal.SIGKILL)
tracking.connect()[0].search_experiments()
"""


def test_a_kill_while_the_store_is_made_does_not_spoil_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    died = subprocess.run([sys.executable, "-c", DIES_HALFWAY], check=False)
    assert died.returncode == -signal.SIGKILL
    client, _ = tracking.connect()
    assert [each.name for each in client.search_experiments()] == ["Default"]
    run = client.create_run("0")
    assert client.get_run(run.info.run_id).info.status == "RUNNING"
