"""What MLflow gets: all of it, once, whatever the server does meanwhile, and never at the experiment's cost."""

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandera.polars as pa
import polars as pl
import pytest
import runkit
import xxhash
from runkit import refs
from runkit.errors import UsageError
from runkit.options import DataOptions
from runkit.state import State
from typer.testing import CliRunner

from tests.shared.runkit.serving import eventually, free_port


class Numbers(pa.DataFrameModel):
    number: int


class ProbeOptions(DataOptions):
    rate: float = 0.5
    device: str = "cpu"


def run_id_of(folder: Path) -> str:
    run_id = State.read(folder).run_id
    assert run_id is not None
    return run_id


def artifacts_of(client: Any, run_id: str, path: str | None = None) -> set[str]:
    found: set[str] = set()
    for each in client.list_artifacts(run_id, path):
        found |= artifacts_of(client, run_id, each.path) if each.is_dir else {each.path}
    return found


def steps_of(client: Any, run_id: str, name: str) -> list[int]:
    return [each.step for each in client.get_metric_history(run_id, name)]


def work(options: ProbeOptions, *, fail: bool = False) -> Path:
    with runkit.stage("toy.probe", options) as run:
        if run.finished:
            return run.folder
        for step in range(5):
            run.metrics({"loss": 1 / (step + 1), "grad": float("nan")}, step=step)
        if fail:
            raise ZeroDivisionError("three by none")
        run.table("numbers", pl.DataFrame({"number": [1, 2]}), Numbers)
        import matplotlib as mpl

        mpl.use("agg")
        from matplotlib import pyplot as plt

        run.figure("curve", plt.figure())
        run.metrics({"accuracy": 0.75})
        run.tags({"verdict": "fine"})
    return run.folder


def test_a_finished_run_is_all_there(here: Path, client: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PLANTED_API_KEY", "sk-planted-secret")
    folder = work(ProbeOptions(data="data.jsonl", rate=0.25, run_name="first", experiment="probes"))
    run = client.get_run(run_id_of(folder))
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "first"
    assert client.get_experiment(run.info.experiment_id).name == "probes"
    given = set(ProbeOptions.model_fields) - {"config", "out", "split", "limit"}  # the others have no value
    assert set(run.data.params) == given
    assert (run.data.params["rate"], run.data.params["seed"]) == ("0.25", "0")
    assert run.data.metrics["accuracy"] == 0.75
    assert steps_of(client, run.info.run_id, "loss") == [0, 1, 2, 3, 4]
    tags = run.data.tags
    assert (tags["stage"], tags["verdict"], tags["reasonscope.folder"]) == ("toy.probe", "fine", str(folder))
    assert {"version.python", "version.polars", "version.reasonscope-runkit", "machine"} <= set(tags)
    assert json.loads(tags["mlflow.loggedArtifacts"]) == [{"path": "tables_preview/numbers.json", "type": "table"}]
    (dataset,) = run.inputs.dataset_inputs
    assert dataset.dataset.name == "data"
    assert dataset.dataset.digest == xxhash.xxh3_128_hexdigest((here / "data.jsonl").read_bytes())
    assert artifacts_of(client, run.info.run_id) == {
        "tables/numbers.parquet",
        "tables_preview/numbers.json",
        "figures/curve.png",
        "manifest.json",
    }
    shown = client.load_table(run.info.experiment_id, "tables_preview/numbers.json", [run.info.run_id])
    assert shown["number"].to_list() == [1, 2]
    everything = b"".join(path.read_bytes() for path in [*folder.rglob("*"), *here.glob("*.db")] if path.is_file())
    assert b"planted-secret" not in everything


def test_failure_is_recorded_and_resuming_goes_on_in_the_same_run(here: Path, client: Any):
    options = ProbeOptions(data="data.jsonl", out=here / "o")
    with suppress(ZeroDivisionError):
        work(options, fail=True)
    run_id = run_id_of(here / "o")
    run = client.get_run(run_id)
    assert run.info.status == "FAILED"
    assert run.data.tags["error"] == "ZeroDivisionError: three by none"
    assert "traceback.txt" in artifacts_of(client, run_id)

    work(options.model_copy(update={"debug": True, "run_name": "other"}))  # params that differ now, and must not raise
    assert run_id_of(here / "o") == run_id
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["attempt"] == "2"
    assert run.data.params["debug"] == "False"
    assert steps_of(client, run_id, "loss") == [0, 1, 2, 3, 4]
    assert steps_of(client, run_id, "grad") == [0, 1, 2, 3, 4]
    assert not (here / "o" / "traceback.txt").exists()
    assert "error" not in run.data.tags
    assert "traceback.txt" not in artifacts_of(client, run_id)

    state = json.loads((here / "o" / "mirror.json").read_text())
    (here / "o" / "mirror.json").write_text(json.dumps({**state, "offset": 0}))  # all is sent again
    assert CliRunner().invoke(runkit_command(), ["sync", str(here / "o")]).exit_code == 0
    assert "error" not in client.get_run(run_id).data.tags
    assert "traceback.txt" not in artifacts_of(client, run_id)


def test_a_store_that_deletes_no_artifact_gets_the_rest(here: Path, client: Any, monkeypatch: pytest.MonkeyPatch):
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    def refuse(*_: Any) -> None:
        raise NotImplementedError

    monkeypatch.setattr(LocalArtifactRepository, "delete_artifacts", refuse)
    for fail in (True, True, False):
        with suppress(ZeroDivisionError):
            work(ProbeOptions(data="data.jsonl", out=here / "o"), fail=fail)
        run = client.get_run(run_id_of(here / "o"))
        assert ("error" in run.data.tags) == fail
    assert run.info.status == "FINISHED"
    assert {"traceback.txt", "tables/numbers.parquet"} <= artifacts_of(client, run.info.run_id)


def test_ctrl_c_is_recorded_as_killed(here: Path, client: Any):
    with pytest.raises(KeyboardInterrupt):
        interrupted(ProbeOptions(data="data.jsonl", out=here / "o"))
    assert client.get_run(run_id_of(here / "o")).info.status == "KILLED"


def interrupted(options: ProbeOptions) -> None:
    with runkit.stage("toy.probe", options) as run:
        eventually(lambda: run_id_of(run.folder))
        raise KeyboardInterrupt


def test_what_is_sent_twice_is_there_once(here: Path, client: Any):
    """Killed after sending, before noting so; and before even noting the run's id."""
    folder = work(ProbeOptions(data="data.jsonl", out=here / "o"))
    run_id = run_id_of(folder)
    state = json.loads((folder / "mirror.json").read_text())
    for lost in ({**state, "offset": 0}, {}):
        (folder / "mirror.json").write_text(json.dumps(lost))
        done = CliRunner().invoke(runkit_command(), ["sync", str(folder)])
        assert done.exit_code == 0, done.output
        assert f"as run {run_id}" in done.output
    assert steps_of(client, run_id, "loss") == [0, 1, 2, 3, 4]
    assert len(client.get_run(run_id).inputs.dataset_inputs) == 1
    assert client.get_run(run_id).info.status == "FINISHED"
    found = client.search_runs([client.get_run(run_id).info.experiment_id], f"tags.`reasonscope.folder` = '{folder}'")
    assert [each.info.run_id for each in found] == [run_id]


def test_it_fills_the_run_that_mlflow_run_has_opened(here: Path, client: Any, monkeypatch: pytest.MonkeyPatch):
    """`mlflow run` has logged the entry point's params already, as text, some of them empty."""
    experiment = client.create_experiment("projects")
    given = client.create_run(experiment).info.run_id
    client.log_param(given, "limit", "")
    client.log_param(given, "rate", "0.50")
    monkeypatch.setenv("MLFLOW_RUN_ID", given)
    folder = work(ProbeOptions(data="data.jsonl", out=here / "o"))
    assert run_id_of(folder) == given
    run = client.get_run(given)
    assert (run.data.params["rate"], run.data.params["seed"]) == ("0.50", "0")
    assert run.data.metrics["accuracy"] == 0.75

    second = client.create_run(experiment).info.run_id  # the same command again: done, but this run is still empty
    monkeypatch.setenv("MLFLOW_RUN_ID", second)
    work(ProbeOptions(data="data.jsonl", out=here / "o"))
    run = client.get_run(second)
    assert run.info.status == "FINISHED"
    assert steps_of(client, second, "loss") == [0, 1, 2, 3, 4]
    assert "tables/numbers.parquet" in artifacts_of(client, second)


def test_stages_inside_a_stage_are_its_children(here: Path, client: Any, monkeypatch: pytest.MonkeyPatch):
    given = client.create_run(client.create_experiment("pipelines")).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", given)
    child_code = (
        "import runkit; from runkit.options import Options\n"
        "with runkit.stage('toy.grandchild', Options(out='process')): pass"
    )
    with runkit.stage("toy.pipeline", ProbeOptions(data="data.jsonl", out=here / "parent")):
        work(ProbeOptions(data="data.jsonl", out=here / "child"))
        subprocess.run([sys.executable, "-c", child_code], check=True, capture_output=True)
    assert os.environ["MLFLOW_RUN_ID"] == given
    assert "REASONSCOPE_PARENT_RUN_ID" not in os.environ
    for folder in (here / "child", here / "process"):
        child = client.get_run(run_id_of(folder))
        assert child.info.run_id != given
        assert child.data.tags["mlflow.parentRunId"] == given
        assert child.info.status == "FINISHED"


def test_what_mlflow_would_refuse_or_cut_is_seen_to(here: Path, client: Any):
    options = ProbeOptions(data="data.jsonl", out=here / "o", run_name="x" * 7000)
    with runkit.stage("toy.probe", options) as run:
        for say in (run.metrics, run.tags):
            with pytest.raises(ValueError, match=r"'head\[2\]' is no name for MLflow"):
                say({"head[2]": 1.0})
        run.tags({"long": "y" * 9000})
        run.metrics({f"layer_{n:04d}/gain": n for n in range(2500)})
    run = client.get_run(run_id_of(here / "o"))
    assert len(run.data.tags["long"]) == 8000
    assert sum(name.startswith("layer_") for name in run.data.metrics) == 2500
    assert run.info.status == "FINISHED"


def test_a_row_that_another_run_made_at_the_same_moment_is_found_at_the_second_try(
    here: Path, client: Any, monkeypatch: pytest.MonkeyPatch
):
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import BAD_REQUEST

    tried: list[str] = []
    log_inputs = type(client).log_inputs

    def taken(self: Any, run_id: str, *args: Any, **given: Any) -> None:
        tried.append(run_id)
        if len(tried) == 1:
            raise MlflowException("UNIQUE constraint failed: datasets", BAD_REQUEST)
        log_inputs(self, run_id, *args, **given)

    monkeypatch.setattr(type(client), "log_inputs", taken)
    folder = work(ProbeOptions(data="data.jsonl", out=here / "o"))
    assert len(tried) == 2
    assert len(client.get_run(run_id_of(folder)).inputs.dataset_inputs) == 1


# Servers that are down, hang, die


def test_a_server_that_refuses_costs_a_warning(
    here: Path, client: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    uri = f"http://me:password@127.0.0.1:{free_port()}"
    good = os.environ["MLFLOW_TRACKING_URI"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    since = time.monotonic()
    with runkit.stage("toy.probe", ProbeOptions(data="data.jsonl", out=here / "o")) as run:
        assert time.monotonic() - since < 5
        run.metrics({"loss": 0.5}, step=3)
        working = time.monotonic()
    assert time.monotonic() - working < 10
    out, err = capfd.readouterr()
    assert out.splitlines()[-1] == "run: o  artifacts: o"
    warnings = [line for line in err.splitlines() if line.strip()]
    assert len(warnings) == 1
    address = uri.replace("me:password@", "")
    assert warnings[0].startswith(f"warning: MLflow at {address} does not take the record")
    assert warnings[0].endswith(f"runkit sync {here / 'o'}")

    since = time.monotonic()
    with pytest.raises(UsageError, match="neither below runs/ nor in MLflow"):
        refs.resolve("latest", stage="toy.probe")
    done = CliRunner().invoke(runkit_command(), ["sync", str(here / "o")])
    assert (done.exit_code, f"MLflow at {address} does not take the record" in done.stderr) == (1, True)
    assert time.monotonic() - since < 10

    monkeypatch.setenv("MLFLOW_TRACKING_URI", good)
    assert CliRunner().invoke(runkit_command(), ["sync", str(here / "o")]).exit_code == 0
    run_id = run_id_of(here / "o")
    assert steps_of(client, run_id, "loss") == [3]
    assert client.get_run(run_id).info.status == "FINISHED"


def test_a_server_that_never_answers_does_not_hold_a_run(here: Path, client: Any, monkeypatch: pytest.MonkeyPatch):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(50)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{listener.getsockname()[1]}")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        since = time.monotonic()
        work(ProbeOptions(data="data.jsonl", out=here / "o"))
        assert time.monotonic() - since < 8
    assert (here / "o" / "manifest.json").exists()


def runkit_command() -> Any:
    from runkit.commands import app

    return app
