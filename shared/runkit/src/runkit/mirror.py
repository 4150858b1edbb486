"""Keep MLflow up to date from a background thread, without ever stopping or slowing the experiment."""

import os
import sys
import threading
import time
from pathlib import Path

from runkit.redact import redact
from runkit.replay import Replay

OFF = "REASONSCOPE_MLFLOW"  # set to "off": record locally only; `runkit sync FOLDER` can follow at any time
_INTERVAL, _LONGEST = 1.0, 30.0  # seconds between looks at the journal; between attempts to reach a server that is down
_STUCK = 120.0  # seconds without any progress after which the end of a stage no longer waits


class Mirror:
    """Replays the journal of `folder` into MLflow; into the run `attach` where given."""

    def __init__(self, folder: Path, attach: str | None) -> None:
        self._folder = folder
        self._replay = Replay(folder, attach)
        self._closing = threading.Event()
        self._warned = False
        self._thread = threading.Thread(target=self._run, name="runkit-mirror", daemon=True)

    @property
    def run_id(self) -> str | None:
        """MLflow's id of the run, once there is one."""
        return self._replay.run_id

    def start(self) -> None:
        if not is_off():
            self._thread.start()

    def is_current(self) -> bool:
        """Whether there is nothing to send: MLflow has it all, or is not wanted."""
        return is_off() or self._replay.is_current()

    def close(self, patience: float | None = None) -> None:
        """Send what is left, and stop: waits while the server takes it, gives up as soon as an attempt fails.

        With `patience`, waits that many seconds at most.
        """
        self._closing.set()
        if not self._thread.ident:
            return
        if patience is not None:
            self._thread.join(patience)
            return
        seen, since = self._replay.progress, time.monotonic()
        while self._thread.is_alive() and time.monotonic() - since < _STUCK:
            self._thread.join(0.5)
            if self._replay.progress != seen:
                seen, since = self._replay.progress, time.monotonic()

    def _run(self) -> None:
        delay = _INTERVAL
        while True:
            last = self._closing.is_set()
            try:
                self._replay.pump()
                delay = _INTERVAL
            except Exception as error:  # noqa: BLE001 - nothing a tracking server does may reach the experiment
                self._warn(error)
                delay = min(2 * delay, _LONGEST)
            if last:
                return
            self._closing.wait(delay)

    def _warn(self, error: Exception) -> None:
        if self._warned:
            return
        self._warned = True
        reason = redact(f"{type(error).__name__}: {error}").splitlines()[0][:200]
        print(
            f"warning: MLflow at {self._replay.place} does not take the record ({reason}); the run goes on, all is "
            f"kept in {self._folder}; what MLflow misses is sent by: runkit sync {self._folder}",
            file=sys.stderr,
            flush=True,
        )


def is_off() -> bool:
    """Whether MLflow is not to be told."""
    return os.environ.get(OFF, "").lower() == "off"
