"""A folder to work in, a toy stage to run in it, and an MLflow store of its own."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

TOY = Path(__file__).parent / "toy"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with a data file in it; MLflow is not asked unless a test says so."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REASONSCOPE_MLFLOW", "off")
    for name in ("MLFLOW_RUN_ID", "MLFLOW_TRACKING_URI", "REASONSCOPE_PARENT_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "data.jsonl").write_text('{"question": "one"}\n')
    return tmp_path


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the store is that tests share: making its tables takes seconds."""
    return tmp_path_factory.mktemp("mlflow") / "mlflow.db"


@pytest.fixture
def client(here: Path, database: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A real MLflow store in a file, and a client that asks it directly."""
    monkeypatch.setenv("REASONSCOPE_MLFLOW", "on")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    import mlflow

    return mlflow.MlflowClient(tracking_uri=f"sqlite:///{database}")


@pytest.fixture
def toy(here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["Toy"]:
    monkeypatch.syspath_prepend(str(TOY))
    toy = Toy(here)
    yield toy
    toy.stop()


class Toy:
    """Runs `toy count` in real processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *args: str, **env: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(TOY / "toy_cli.py"), "count", *args]
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(process)
        return process

    def run(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*args, **env)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def call(self, *args: str) -> Result:
        """The same in this process: quicker, where no process needs to die."""
        return CliRunner().invoke(import_module("toy_cli").app, ["count", *args])

    def nursery(self, **options: float) -> "Nursery":
        process = subprocess.Popen(
            [sys.executable, str(TOY / "toy_nursery.py"), json.dumps({"data": "data.jsonl", **options})],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._started.append(process)
        return Nursery(process)

    def stop(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.wait()


class Nursery:
    """Bears processes that have already imported everything, so that dying often is cheap."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def live(self, folder: Path, seconds: float | None = None) -> int:
        """Run the toy in `folder`, kill it after `seconds`; the exit status, negative for a signal."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{folder}\n")
        self._process.stdin.flush()
        child = int(self._process.stdout.readline())
        reaper = threading.Timer(seconds or 1e6, os.kill, (child, signal.SIGKILL))
        reaper.start()
        status = int(self._process.stdout.readline())
        reaper.cancel()
        return status
