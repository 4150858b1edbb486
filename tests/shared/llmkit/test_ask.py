"""Questions in, replies out, over real HTTP: each question gets its own answer, once, and nothing is left behind."""

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import psutil
import pytest
from llmkit import Exchange, Question, append_jsonl, ask, estimate
from llmkit.budget import Prices
from llmkit.errors import UsageError
from pydantic import BaseModel, RootModel

from tests.shared.llmkit.asking import Capital, asked_of, backend, question, questions, right, value
from tests.shared.llmkit.server import FaultyServer, always, first


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "answers.db"


def test_every_question_gets_its_own_answer_once(cache: Path):
    with FaultyServer(right, delay=0.05) as server:
        replies = list(ask(questions(40), backend(server, concurrency=8), cache=cache))
    assert {reply.key: reply.value for reply in replies} == {each.key: value(each.key) for each in questions(40)}
    assert all((reply.status, reply.attempts, reply.cached) == ("ok", 1, False) for reply in replies)
    assert all((reply.prompt_tokens, reply.completion_tokens) == (11, 7) for reply in replies)
    assert set(server.asked.values()) == {1}
    assert server.most_at_once == 8


def test_the_request_is_what_the_api_wants(cache: Path):
    with FaultyServer(right) as server:
        list(ask(questions(1), backend(server, temperature=0.5, max_tokens=99), cache=cache))
        list(ask(questions(1), backend(server, temperature=None), cache=cache))
    first_body, second_body = server.bodies
    wanted = first_body.pop("response_format")
    assert first_body == {
        "model": "parrot",
        "messages": [{"role": "user", "content": "What is the capital of q0?"}],
        "temperature": 0.5,
        "max_tokens": 99,
    }
    schema = wanted["json_schema"]
    assert (wanted["type"], schema["name"], schema["strict"]) == ("json_schema", "Capital", True)
    assert schema["schema"]["required"] == ["city", "sure"]
    assert schema["schema"]["additionalProperties"] is False
    assert "temperature" not in second_body


def test_a_slow_answer_holds_up_nobody(cache: Path):
    with FaultyServer(right, plan=lambda prompt, _: "hang" if "of q3?" in prompt else None) as server:
        replies = ask(questions(30), backend(server, concurrency=2, timeout=60), cache=cache)
        keys = {next(replies).key for _ in range(29)}
        assert keys == {each.key for each in questions(30)} - {"q3"}
        replies.close()


def test_samples_of_a_question_are_asked_each(cache: Path):
    with FaultyServer(right) as server:
        asked = [question("q", sample) for sample in range(3)]
        assert sorted(reply.sample for reply in ask(asked, backend(server), cache=cache)) == [0, 1, 2]
        assert server.calls == 3


def test_a_question_that_stands_twice_is_refused_before_anything_is_asked(cache: Path):
    with FaultyServer(right) as server:
        with pytest.raises(UsageError, match=r"question 'q1' \(sample 0\) stands twice"):
            ask([*questions(3), question("q1")], backend(server), cache=cache)
        assert server.calls == 0


class Words(RootModel[list[str]]):
    pass


@pytest.mark.parametrize(
    ("messages", "form", "complaint"),
    [
        ((), Capital, "question 'q' has no messages"),
        (({"role": "user", "content": "?"},), Words, "'q': Words is a root"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(messages: tuple, form: type[BaseModel], complaint: str):
    with pytest.raises(UsageError, match=complaint):
        Question("q", messages, form)


@pytest.mark.parametrize("options", [{"max_tokens": 0}, {"concurrency": 0}, {"retries": -1}, {"timeout": 0.0}])
def test_numbers_that_make_no_sense_are_refused(options: dict[str, float]):
    with FaultyServer(right) as server, pytest.raises(UsageError, match=next(iter(options))):
        backend(server, **options)


# Answers that cannot be used


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("malformed", "no JSON object"),
        ("refuse", "declined: I cannot help with that"),
        ("filter", "declined: content filter"),
        ("length", "too long"),
    ],
)
def test_an_unusable_answer_is_asked_again_once_naming_the_fault(fault: str, told: str, cache: Path):
    """Asked again: right. Asked again, and wrong again: invalid, with the text, and no value."""
    stubborn = "capital of stubborn?"

    def plan(prompt: str, _: int) -> str | None:
        return fault if "cannot be used" not in prompt or stubborn in prompt else None

    with FaultyServer(right, plan=plan) as server:
        asked = [question("yielding"), question("stubborn")]
        replies = {reply.key: reply for reply in ask(asked, backend(server), cache=cache)}
        assert server.calls == 4
    good, bad = replies["yielding"], replies["stubborn"]
    assert (good.status, good.value, good.attempts, good.error) == ("ok", value("yielding"), 2, "")
    assert (good.prompt_tokens, good.completion_tokens) == (22, 14)
    assert (bad.status, bad.value, bad.attempts) == ("invalid", None, 2)
    assert told in bad.error
    assert bad.text == {"malformed": "Well, I would say yes", "refuse": "I cannot help with that"}.get(
        fault, right({"messages": [{"content": stubborn}]}) if fault == "length" else ""
    )
    second = next(body for body in server.bodies if len(body["messages"]) == 3)
    assert [message["role"] for message in second["messages"]] == ["user", "assistant", "user"]
    assert told in second["messages"][2]["content"]
    assert '"city"' in second["messages"][2]["content"]
    assert all(message["content"] for message in second["messages"])


def test_a_wrong_form_is_told_in_detail(cache: Path):
    with FaultyServer(lambda body: '{"city": "Rome", "sure": "perhaps"}') as server:
        (reply,) = ask(questions(1), backend(server), cache=cache)
    assert (reply.status, reply.value) == ("invalid", None)
    assert "sure: Input should be a valid boolean" in reply.error
    assert "sure: Input should be a valid boolean" in server.bodies[1]["messages"][2]["content"]


# Nothing is left behind


def no_trace_of(server: FaultyServer) -> None:
    port = int(server.url.split(":")[2].split("/")[0])
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith(("llmkit", "asyncio"))]
    open_to = [each for each in psutil.Process().net_connections() if each.raddr and each.raddr.port == port]
    assert not [each for each in open_to if each.status == psutil.CONN_ESTABLISHED and each.laddr.port != port]


@pytest.mark.parametrize("taken", [0, 5, 20])
def test_closing_ends_what_is_under_way(taken: int, cache: Path):
    with FaultyServer(right, plan=lambda prompt, _: "hang" if "of q1?" in prompt else None) as server:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            replies = ask(questions(30), backend(server, timeout=60), cache=cache)
            for _ in range(taken):
                next(replies)
            since = time.monotonic()
            replies.close()
            gc.collect()
        assert time.monotonic() - since < 5  # not the minute that the hanging ones would take
        no_trace_of(server)


def test_a_finished_job_leaves_nothing_open(cache: Path):
    with FaultyServer(right) as server:
        list(ask(questions(10), backend(server), cache=cache))
        no_trace_of(server)


def test_an_error_in_the_recorder_reaches_the_caller_and_ends_the_job(cache: Path):
    def broken(exchange: Exchange) -> None:
        raise OSError("disk full")

    with FaultyServer(right) as server:
        with pytest.raises(OSError, match="disk full"):
            list(ask(questions(10), backend(server), cache=cache, record=broken))
        no_trace_of(server)


def test_it_works_inside_a_running_event_loop(cache: Path):
    """As in a notebook."""

    async def cell() -> int:
        with FaultyServer(right) as server:
            return len(list(ask(questions(3), backend(server), cache=cache)))

    assert asyncio.run(cell()) == 3


CTRL_C = """
import sys
from pathlib import Path
from llmkit import ask
from llmkit import Endpoint, Server
from tests.shared.llmkit.asking import questions
server = Server(Endpoint(sys.argv[1], "parrot", None), timeout=60)
for reply in ask(questions(20), server, cache=Path(sys.argv[2])):
    print(reply.key, flush=True)
"""


def test_ctrl_c_ends_it_at_once_and_what_was_answered_is_kept(cache: Path):
    with FaultyServer(right, plan=lambda prompt, _: "hang" if "of q1" in prompt else None) as server:
        process = subprocess.Popen(
            [sys.executable, "-c", CTRL_C, server.url, str(cache)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
            env={**os.environ, "PYTHONPATH": "."},
        )
        assert process.stdout is not None
        told = {process.stdout.readline().strip() for _ in range(9)}
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert process.returncode == -signal.SIGINT
        assert err.rstrip().endswith("KeyboardInterrupt")
        assert len(told) == 9
        assert estimate(questions(20), backend(server), cache=cache).cached == 9


# Records and forecasts


def test_exchanges_hold_what_was_sent_and_what_came_back(cache: Path, tmp_path: Path):
    path = tmp_path / "log" / "exchanges.jsonl"

    def plan(prompt: str, repetition: int) -> str | None:
        if "of q0" in prompt and "cannot be used" not in prompt:
            return "500" if repetition == 0 else "malformed"
        return "400" if "of q1" in prompt else None

    with FaultyServer(right, plan=plan, complaint="too many words") as server:
        before = time.time_ns()
        list(ask(questions(3), backend(server), cache=cache, record=append_jsonl(path)))
        list(ask(questions(3)[:1], backend(server), cache=cache, record=append_jsonl(path)))  # cached: no exchange
    told = [json.loads(line) for line in path.read_text().splitlines()]
    by_name = {(each["key"], each["turn"]): each for each in told}
    assert set(by_name) == {("q0", 0), ("q0", 1), ("q1", 0), ("q2", 0)}
    assert len(told) == 4
    lame, good, refused = by_name["q0", 0], by_name["q0", 1], by_name["q1", 0]
    assert (lame["status"], lame["attempts"], lame["response"]) == ("invalid", 2, "Well, I would say yes")
    assert (good["status"], good["attempts"], json.loads(good["response"])["city"]) == ("ok", 1, "city of q0")
    assert (refused["status"], refused["response"]) == ("error", "")
    assert "400: too many words" in refused["error"]
    assert good["request"]["messages"][0]["content"] == "What is the capital of q0?"
    assert (good["backend"], good["model"]) == (server.url, "parrot")
    assert all(before < each["start_ns"] < each["end_ns"] < time.time_ns() for each in told)


def test_the_dry_run_bounds_what_the_real_one_costs(cache: Path):
    """The server counts a token per character, the most there can be; the forecast may not be below it."""

    def usage(body: dict) -> dict[str, int]:
        return {"prompt_tokens": sum(len(each["content"]) for each in body["messages"]), "completion_tokens": 50}

    with FaultyServer(right, usage=usage) as server:
        asker = backend(server, max_tokens=50)
        list(ask(questions(4), asker, cache=cache))
        calls = server.calls
        told = estimate(questions(10), asker, cache=cache, prices=Prices(prompt=2e6, completion=3e6))
        assert server.calls == calls
        replies = [reply for reply in ask(questions(10), asker, cache=cache) if not reply.cached]
    assert (told.questions, told.cached, told.calls) == (10, 4, 6)
    assert server.calls - calls == told.calls
    assert told.completion_tokens == 300 == sum(reply.completion_tokens for reply in replies)
    assert told.prompt_tokens >= sum(reply.prompt_tokens for reply in replies)
    assert told.cost == 2 * told.prompt_tokens + 3 * told.completion_tokens
    assert estimate(questions(1), asker, cache=cache).cost is None


def test_the_answer_reaches_the_right_question_after_repetitions(cache: Path):
    with FaultyServer(right, plan=first("500")) as server:
        replies = list(ask(questions(10), backend(server), cache=cache))
        assert {reply.key: reply.value for reply in replies} == {each.key: value(each.key) for each in questions(10)}
        assert [asked_of(body) for body in server.bodies].count("q0") == 2
        assert {reply.attempts for reply in replies} == {2}


def test_importing_llmkit_costs_nothing():
    """Command lines import it before they know whether anything will be asked."""
    code = "import sys, llmkit; assert not {'openai', 'torch', 'transformers', 'sqlite3'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_server_fault_is_not_taken_for_an_answer(cache: Path):
    with FaultyServer(right, plan=always("empty")) as server:
        (reply,) = ask(questions(1), backend(server, retries=2), cache=cache)
    assert (reply.status, reply.value, reply.attempts) == ("error", None, 3)
    assert "sent no whole answer" in reply.error
