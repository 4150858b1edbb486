"""What a run takes of the machine: samples on long runs, none on short ones, none where they are not wanted."""

import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import runkit
from runkit import journal, runs
from runkit.options import Options
from runkit.state import State

OPTIONS = Options(experiment="machines")


def samples(folder: Path) -> list[dict[str, Any]]:
    return [event for event in journal.intact(folder / "journal.jsonl") if event["event"] == "system"]


def work(*, wait: bool) -> Path:
    with runkit.stage("toy.long", OPTIONS) as run:
        until = time.monotonic() + 60
        while wait and len(samples(run.folder)) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        run.metrics({"accuracy": 1.0})
    return run.folder


def test_a_long_run_has_samples_under_mlflows_names(client: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    folder = work(wait=True)
    found = client.get_run(State.read(folder).run_id).data.metrics
    machine = psutil.virtual_memory().total / 1e6
    assert 0 < found["system/system_memory_usage_megabytes"] < machine
    assert 0 < found["system/process_memory_usage_megabytes"] < machine
    assert 0 <= found["system/cpu_utilization_percentage"] <= 100
    assert len(client.get_metric_history(State.read(folder).run_id, "system/cpu_utilization_percentage")) >= 2
    assert runs.results(folder) == {"accuracy": 1.0}
    count = len(samples(folder))
    time.sleep(0.5)
    assert len(samples(folder)) == count


@pytest.mark.usefixtures("client")
def test_a_short_run_has_none():
    assert not samples(work(wait=False))


@pytest.mark.parametrize(
    ("name", "value"), [("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false"), ("REASONSCOPE_MLFLOW", "off")]
)
@pytest.mark.usefixtures("client")
def test_switched_off_there_are_none(name: str, value: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.01")
    monkeypatch.setenv(name, value)
    with runkit.stage("toy.long", OPTIONS) as run:
        time.sleep(0.5)
    assert not samples(run.folder)
