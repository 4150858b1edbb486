"""A real MLflow server, to be killed."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def eventually(check: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            assert check()
            return
        except AssertionError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


class Server:
    """A real MLflow server, to be killed."""

    def __init__(self, folder: Path, database: Path) -> None:
        self.uri = f"http://127.0.0.1:{free_port()}"
        self._command = [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--workers",
            "1",
            "--port",
            self.uri.rpartition(":")[2],
        ]
        self._command += [
            "--backend-store-uri",
            f"sqlite:///{database}",
            "--artifacts-destination",
            str(folder / "store"),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        import requests

        alone = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # no processes beside it for jobs
        self._process = subprocess.Popen(
            self._command, env=alone, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )

        def answers() -> bool:
            with suppress(requests.RequestException):
                return requests.get(f"{self.uri}/health", timeout=1).ok
            return False

        eventually(answers, 120)

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
