"""Calls of a language model on record: MLflow shows each once, as a trace of its run, whenever its server is back."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import runkit
from runkit.options import DataOptions
from runkit.state import State
from typer.testing import CliRunner

START = 1_700_000_000_000_000_000


def chat(run: runkit.StageRun, name: str, **changes: Any) -> None:
    call = {
        "inputs": {"model": "parrot", "messages": [{"role": "user", "content": f"What is {name}?"}]},
        "outputs": {"choices": [{"message": {"role": "assistant", "content": f"{name} is good"}}]},
        "start_ns": START,
        "end_ns": START + 1_500_000_000,
        "tokens": (11, 7),
        "attributes": {"attempts": 3},
    }
    run.trace(name, **(call | changes))


def work(folder: Path, calls: int) -> Path:
    with runkit.stage("toy.probe", DataOptions(data="data.jsonl", out=folder)) as run:
        for number in range(calls):
            chat(run, f"q{number}")
            if number % 2:
                run.metrics({"done": number}, step=number)
    return folder


def traces_of(client: Any, folder: Path) -> list[Any]:
    run_id = State.read(folder).run_id
    experiment = client.get_run(run_id).info.experiment_id
    return client.search_traces(locations=[experiment], run_id=run_id, max_results=500)


def test_every_call_is_a_trace_of_its_run(here: Path, client: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PLANTED_API_KEY", "sk-planted-secret")
    with runkit.stage("toy.probe", DataOptions(data="data.jsonl", out=here / "o")) as run:
        chat(run, "virtue")
        chat(run, "sk-planted-secret", error="refused: sk-planted-secret", tokens=None)
    work(here / "other", 1)
    bad, good = sorted(traces_of(client, here / "o"), key=lambda trace: trace.info.state)
    assert (good.info.state, good.info.request_time, good.info.execution_duration) == ("OK", START // 10**6, 1500)
    assert good.info.tags["mlflow.traceName"] == "virtue"
    assert good.info.token_usage == {"input_tokens": 11, "output_tokens": 7, "total_tokens": 18}
    (span,) = good.data.spans
    assert span.inputs["messages"] == [{"role": "user", "content": "What is virtue?"}]
    assert span.outputs["choices"][0]["message"]["content"] == "virtue is good"
    assert (span.span_type, span.attributes["attempts"]) == ("CHAT_MODEL", 3)
    assert (span.start_time_ns, span.end_time_ns) == (START, START + 1_500_000_000)
    assert (good.info.request_preview, good.info.response_preview) == ("What is virtue?", "virtue is good")
    assert (bad.info.state, bad.data.spans[0].status.description) == ("ERROR", "refused: [PLANTED_API_KEY]")
    assert "planted-secret" not in (here / "o" / "journal.jsonl").read_text() + json.dumps(bad.to_dict())


def test_what_a_dead_server_missed_is_sent_once_however_often_it_is_sent(
    here: Path, client: Any, database: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    since = time.monotonic()
    folder = work(here / "o", 120)
    assert time.monotonic() - since < 20  # not a time-out per call
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    from runkit.commands import app

    for lost in ("mirror.json", "offset"):  # killed before noting how far it came
        assert CliRunner().invoke(app, ["sync", str(folder)]).exit_code == 0
        names = [trace.info.tags["mlflow.traceName"] for trace in traces_of(client, folder)]
        assert sorted(names) == sorted(f"q{number}" for number in range(120))
        assert {trace.info.token_usage["total_tokens"] for trace in traces_of(client, folder)} == {18}
        state = json.loads((folder / "mirror.json").read_text())
        (folder / "mirror.json").write_text("" if lost == "mirror.json" else json.dumps({**state, "offset": 0}))
    assert len(client.get_metric_history(State.read(folder).run_id, "done")) == 60


def test_what_llmkit_records_becomes_traces(here: Path, client: Any):
    from llmkit import ask

    from tests.shared.llmkit.asking import backend, questions, right
    from tests.shared.llmkit.server import FaultyServer, prompt_of

    def plan(prompt: str, repetition: int) -> str | None:
        return "malformed" if "of q1?" in prompt and "cannot be used" not in prompt else None

    with FaultyServer(right, plan=plan) as server:
        with runkit.stage("toy.probe", DataOptions(data="data.jsonl", out=here / "o")) as run:
            cache = here / "answers.db"
            list(ask(questions(3), backend(server), cache=cache, record=lambda each: run.trace(**each.as_trace())))
        prompts = sorted(map(prompt_of, server.bodies))
    traces = {trace.info.tags["mlflow.traceName"]: trace for trace in traces_of(client, here / "o")}
    assert set(traces) == {"q0/0", "q1/0", "q1/0/again", "q2/0"}
    assert sorted(prompt_of(trace.data.spans[0].inputs) for trace in traces.values()) == prompts
    assert {name: trace.info.state for name, trace in traces.items() if trace.info.state != "OK"} == {"q1/0": "ERROR"}
    assert traces["q2/0"].info.response_preview == right(server.bodies[0]).replace("q0", "q2")
