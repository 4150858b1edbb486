"""An MLflow server that is gone again and again while a pipeline runs: the pipeline goes on, and in the end MLflow has
everything, once."""

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from runkit import journal
from runkit.commands import app
from runkit.state import State
from typer.testing import CliRunner

from tests.faults.commands import Command
from tests.faults.gate import Gate
from tests.shared.runkit.serving import Server
from tests.shared.runkit.test_mirror import artifacts_of

GONE = 12


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, tmp_path / "server.db")
    server.start()
    yield server
    server.kill()


def test_a_server_that_is_gone_again_and_again(
    processes, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figures
):
    import mlflow

    gate = Gate(int(server.uri.rpartition(":")[2]))
    uri = f"http://127.0.0.1:{gate.port}"
    variables = {"REASONSCOPE_MLFLOW": "on", "MLFLOW_TRACKING_URI": uri, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
    dice, gone = random.Random(8), 0
    command = Command(processes, "expgen", tmp_path / "place", variables=variables)
    while command.process.is_alive() and gone < GONE:
        command.process.join(dice.uniform(0.05, 0.6))
        gate.shut()
        command.process.join(dice.uniform(0.05, 0.6))
        gate.open()
        gone += 1
    ended = command.ended()
    assert ended.code == 0, ended.said[-3000:]
    assert gate.broken
    runs = sorted((tmp_path / "place" / "runs").iterdir())
    assert len(runs) == 6
    for name in ("MLFLOW_TRACKING_URI", "REASONSCOPE_MLFLOW"):
        monkeypatch.setenv(name, variables[name])
    for run in runs:
        done = CliRunner().invoke(app, ["sync", str(run)])
        assert done.exit_code == 0, done.output
    client = mlflow.MlflowClient(tracking_uri=server.uri)
    for run in runs:
        _all_there_once(client, run)
    (experiment,) = {client.get_run(str(State.read(run).run_id)).info.experiment_id for run in runs}
    assert len(client.search_runs([experiment])) == len(runs)
    figures(
        "MLflow server killed and back", "`expgen` pipeline",
        tried=f"up to {GONE} times at random, connections broken in the middle",
        held="6 of 6 runs have every metric, param, tag and artifact, once; the pipeline ends well",
    )  # fmt: skip


def _all_there_once(client: Any, folder: Path) -> None:
    """What the run's journal says, and its manifest, is what MLflow has of it."""
    events = [event for event, _ in journal.read(folder / "journal.jsonl")]
    run = client.get_run(State.read(folder).run_id)
    assert run.info.status == "FINISHED"
    said = Counter(
        (name, event["step"] or 0) for event in events if event["event"] == "metrics" for name in event["values"]
    )
    for name in {name for name, _ in said}:
        found = Counter((name, each.step) for each in client.get_metric_history(run.info.run_id, name))
        assert found == Counter({key: 1 for key in said if key[0] == name}), (folder.name, name)
    params = {name for event in events if event["event"] == "params" for name in event["values"]}
    assert params <= run.data.params.keys()
    tags = {name for event in events if event["event"] == "tags" for name in event["values"]}
    assert tags <= run.data.tags.keys()
    files = json.loads((folder / "manifest.json").read_text())["files"]
    assert {*files, "manifest.json"} <= artifacts_of(client, run.info.run_id)
    inputs = {event["digest"] for event in events if event["event"] == "input"}
    assert len(run.inputs.dataset_inputs) <= len(inputs)
