"""What a long run takes of the machine: CPU, memory, disk, network and GPUs, from a background thread.

Measured and named as MLflow does it, so that its page of a run shows them as system metrics.
"""

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

_EVERY = 10.0  # seconds; a run that ends sooner has no samples
_SHARE = 0.005  # of the run's time between two samples of a long one: the journal stays small
_SWITCH, _INTERVAL = "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL"


class Watch:
    """Calls `say` with a sample, values by name, every ten seconds; on runs of hours less often."""

    def __init__(self, say: Callable[[dict[str, float]], None]) -> None:
        self._say, self._end, self._saying = say, threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._run, name="runkit-system", daemon=True)

    def start(self) -> None:
        """Begin, unless MLflow's own switch says no."""
        if os.environ.get(_SWITCH, "").lower() not in ("false", "0"):
            self._thread.start()

    def stop(self) -> None:
        """No sample is said after this."""
        with self._saying:  # no waiting for the thread: a gauge may take its time, and Ctrl-C should not
            self._end.set()

    def _run(self) -> None:
        since, every = time.monotonic(), float(os.environ.get(_INTERVAL) or _EVERY)
        if self._end.wait(every):
            return
        monitors = _monitors()
        while not self._end.wait(max(every, _SHARE * (time.monotonic() - since))):
            with suppress(Exception):  # no gauge that fails may reach the experiment
                found = {f"system/{name}": value for each in monitors for name, value in _sample(each).items()}
                with self._saying:
                    if not self._end.is_set():
                        self._say(found)


class _Process:
    """This process by itself, beside what MLflow knows of the whole machine."""

    def __init__(self) -> None:
        import psutil

        self._process = psutil.Process()
        self._process.cpu_percent()  # the next call tells the share since this one

    def collect_metrics(self) -> None:
        self._found = {
            "process_cpu_percentage": self._process.cpu_percent(),
            "process_memory_usage_megabytes": self._process.memory_info().rss / 1e6,
        }

    def aggregate_metrics(self) -> dict[str, float]:
        return self._found

    def clear_metrics(self) -> None:
        self._found = {}


def _monitors() -> list[Any]:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor
    from mlflow.system_metrics.metrics.rocm_monitor import ROCMMonitor

    found: list[Any] = []
    for kind in (_Process, CPUMonitor, DiskMonitor, NetworkMonitor, GPUMonitor, ROCMMonitor):
        with suppress(Exception):  # no such device, or not the library that asks it: each fails in a way of its own
            found.append(kind())
    return found


def _sample(monitor: Any) -> dict[str, float]:
    monitor.collect_metrics()
    found = dict(monitor.aggregate_metrics())
    monitor.clear_metrics()
    return found
