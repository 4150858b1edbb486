"""`reasonscope ui`: one address that shows the runs, and no process that outlives it."""

import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest
import runkit
from reasonscope.cli import app
from runkit.options import Options
from typer.testing import CliRunner

COMMAND = [sys.executable, "-c", "from reasonscope.cli import main; main()", "ui"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "REASONSCOPE_PARENT_RUN_ID", "REASONSCOPE_MLFLOW"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_without_runs_it_says_what_to_do_and_makes_no_store(here: Path):
    said = CliRunner().invoke(app, ["ui"])
    assert said.exit_code == 2
    assert "run `reasonscope demo` first" in said.stderr
    assert not list(here.iterdir())


@pytest.mark.usefixtures("here")
def test_of_a_server_it_prints_the_address_without_the_password(monkeypatch: pytest.MonkeyPatch):
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        place = f"127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@{place}")
        said = CliRunner().invoke(app, ["ui"])
        server.shutdown()
    assert said.exit_code == 0
    assert said.stdout.splitlines()[-1] == f"http://{place}"


@pytest.mark.usefixtures("here")
def test_of_a_server_that_is_down_it_says_so(monkeypatch: pytest.MonkeyPatch):
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@{place}")
        said = CliRunner().invoke(app, ["ui"])
    assert (said.exit_code, said.stdout) == (1, "")
    (line,) = said.stderr.splitlines()
    assert f"server that does not answer: http://{place} (" in line


@pytest.mark.timeout(240)
def test_it_shows_the_runs_on_the_next_free_port_and_leaves_nothing_behind(here: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here}/mlflow.db")
    with runkit.stage("toy.probe", Options(experiment="probes")) as run:
        run.metrics({"accuracy": 0.5})
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [*COMMAND, "--port", str(port)]
        shown = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert shown.stdout is not None
        store, address = shown.stdout.readline(), shown.stdout.readline().strip()
    try:
        assert f"sqlite:///{here}/mlflow.db" in store
        root, _, page = address.partition("/#/")
        assert int(root.rpartition(":")[2]) > port
        experiment = page.split("/")[1]
        asked = f"{root}/api/2.0/mlflow/experiments/get?experiment_id={experiment}"
        with urllib.request.urlopen(asked) as answer:
            assert b'"name": "probes"' in answer.read()
        server = _children(shown.pid)
        assert server
    finally:
        shown.send_signal(signal.SIGINT)
    assert shown.wait(60) == 0
    assert not any(_alive(each) for each in server)


def _children(process: int) -> list[int]:
    """All processes below this one."""
    own = [int(each) for each in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    return [found for each in own for found in (each, *_children(each))]


def _alive(process: int) -> bool:
    for _ in range(50):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.1)
    return True
