"""`reasonscope ui`: MLflow's own UI on the store that runs go to from here, opened where the runs are."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from ssl import SSLError
from typing import IO

from runkit import tracking
from runkit.errors import ReasonscopeError, UsageError
from runkit.redact import redact

_RUNS = "/#/experiments/{}/runs?workflowType=machine_learning"  # MLflow's front page is about apps and their traces
_SQLITE = "sqlite:///"
_LOOK = 0.2  # seconds between looks at the server
_PORTS = 50  # tried one after the other
_START, _END = 120.0, 5.0  # seconds for the server to answer, and to leave
_ANSWER = 5.0  # seconds for one that is there already
_ENVIRONMENT = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def ui(host: str, port: int) -> None:
    """Start the server, print its address once it answers, and stay until Ctrl-C or SIGTERM, which end it whole.

    Where `MLFLOW_TRACKING_URI` is a server that answers, its address is printed, and that is all.

    Raises:
        UsageError: no run has been recorded here; no port is free.
        ReasonscopeError: the server does not start; the one that runs go to does not answer.
    """
    store = _store()
    if store.startswith("http"):
        _ask(redact(store))
        print(f"runs go to an MLflow server, which has its UI there:\n{redact(store)}", flush=True)
        return
    free = _free(host, port)
    try:
        with tempfile.TemporaryFile() as log, _server(store, host, free, log) as process:
            _wait(process, f"http://{host}:{free}", log)
            print(f"MLflow on {redact(store)} (Ctrl-C ends it):\nhttp://{host}:{free}{_runs()}", flush=True)
            while process.poll() is None:  # `wait` would not be interrupted: libraries have signals restart it
                time.sleep(_LOOK)
    except KeyboardInterrupt:
        print("", flush=True)


def _store() -> str:
    """The address of the store. Raises UsageError where it is a file that is not there."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}{Path.cwd() / 'mlflow.db'}"
    if uri.startswith(_SQLITE) and not Path(uri.removeprefix(_SQLITE).partition("?")[0]).exists():
        raise UsageError(f"no runs here yet ({redact(uri)} is not there): run `reasonscope demo` first")
    return uri


def _ask(address: str) -> None:
    """Raise ReasonscopeError where nobody answers there; one that wants a password does."""
    try:
        urllib.request.urlopen(f"{address.rstrip('/')}/health", timeout=_ANSWER).close()
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, urllib.error.HTTPError) and error.code < HTTPStatus.INTERNAL_SERVER_ERROR:
            return
        if isinstance(getattr(error, "reason", None), SSLError):  # it is there; whether to trust it is the browser's
            return
        raise ReasonscopeError(f"runs go to an MLflow server that does not answer: {address} ({error})") from None


def _runs() -> str:
    """The page of the newest experiment with runs; empty where there is none."""
    client, _ = tracking.connect()
    found = client.search_experiments(order_by=["creation_time DESC"], max_results=10)
    newest = next((each for each in found if client.search_runs([each.experiment_id], max_results=1)), None)
    return _RUNS.format(newest.experiment_id) if newest else ""


def _free(host: str, port: int) -> int:
    for each in range(port, min(port + _PORTS, 65536)):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((host, each))
            except OSError:
                continue
            return each
    raise UsageError(f"--port {port}: neither it nor one of the {_PORTS} after it is free on {host}")


@contextmanager
def _server(store: str, host: str, port: int, log: IO[bytes]) -> Generator[subprocess.Popen[bytes]]:
    """The server and its workers, in a process group of their own, so that none outlives this."""
    words = ["server", "--backend-store-uri", store, "--host", host, "--port", str(port), "--workers", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", *words],
        env={**os.environ, **_ENVIRONMENT},
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would leave workers behind
    for each in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(process.pid, each)
            process.wait(_END)


def _wait(process: subprocess.Popen[bytes], address: str, log: IO[bytes]) -> None:
    """Until the server answers. Raises ReasonscopeError with what it said where it does not."""
    until = time.monotonic() + _START
    while process.poll() is None and time.monotonic() < until:
        try:
            urllib.request.urlopen(f"{address}/health", timeout=1).close()
        except (urllib.error.URLError, OSError):
            time.sleep(_LOOK)
        else:
            return
    log.seek(0)
    said = redact(log.read().decode(errors="replace"))[-2000:]
    raise ReasonscopeError(f"the MLflow server does not start; it says:\n{said}")
