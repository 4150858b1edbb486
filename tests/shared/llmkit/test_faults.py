"""A server that misbehaves in every way: what may pass is repeated, what cannot is said, and no answer is invented."""

import json
import socket
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llmkit import AccessDenied, Endpoint, LLMKitError, Server, ServerFailing, ask
from llmkit.backend import Request
from llmkit.dialect import Dialect
from llmkit.retry import pause, wanted_pause
from pydantic import BaseModel, Field

from tests.shared.llmkit.asking import Capital, asked_of, backend, question, questions, right, value
from tests.shared.llmkit.server import FAULTS, PASSING, UNUSABLE, FaultyServer, always, first, prompt_of, seeded


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "answers.db"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _patience(fault: str) -> float:
    """Seconds to wait for an answer: few where none comes, and enough for a machine that is busy where one does."""
    return 0.3 if fault == "hang" else 10


@pytest.mark.parametrize("fault", PASSING)
def test_what_may_pass_is_repeated(fault: str, cache: Path):
    with FaultyServer(right, plan=first(fault, 2)) as server:
        replies = list(ask(questions(3), backend(server, timeout=_patience(fault)), cache=cache))
        assert {reply.key: reply.value for reply in replies} == {each.key: value(each.key) for each in questions(3)}
        assert {reply.attempts for reply in replies} == {3}
        assert set(server.asked.values()) == {3}


@pytest.mark.parametrize("fault", PASSING)
def test_what_does_not_pass_ends_as_an_error_that_says_so(fault: str, cache: Path):
    told = {"hang": "no answer from", "half": "connection to", "reset": "connection to"}
    whole = {"truncate", "html", "empty"}
    with FaultyServer(right, plan=always(fault)) as server:
        (reply,) = ask(questions(1), backend(server, timeout=_patience(fault), retries=2), cache=cache)
        assert server.calls == 3
    assert (reply.status, reply.value, reply.text, reply.attempts) == ("error", None, "", 3)
    assert (
        told.get(fault) or ("sent no whole answer" if fault in whole else f"answers {fault}: nothing")
    ) in reply.error


def test_an_answer_that_drips_within_the_time_limit_is_taken(cache: Path):
    with FaultyServer(right, plan=always("drip")) as server:
        (reply,) = ask(questions(1), backend(server), cache=cache)
    assert (reply.status, reply.value) == ("ok", value("q0"))


def test_an_answer_that_drips_beyond_it_is_not_waited_for(cache: Path):
    """Every byte comes in time; the whole does not."""
    with FaultyServer(lambda body: " " * 5000 + right(body), plan=always("drip")) as server:
        since = time.monotonic()
        (reply,) = ask(questions(1), backend(server, timeout=0.3, retries=1), cache=cache)
        assert time.monotonic() - since < 4  # the drip takes at least five seconds, twice
    assert (reply.status, reply.attempts) == ("error", 2)


@pytest.mark.parametrize("status", [400, 404, 409 + 1, 413, 422])
def test_what_is_wrong_with_the_question_is_not_repeated(status: int, cache: Path):
    with FaultyServer(right, plan=always(str(status)), complaint="model parrot not found") as server:
        (reply,) = ask(questions(1), backend(server), cache=cache)
        refusals = 3 if status in (400, 413, 422) else 1  # these might have meant the format
        assert server.calls == refusals
    assert (reply.status, reply.value) == ("error", None)
    assert f"{server.url} answers {status}: model parrot not found" in reply.error


def test_one_bad_question_spoils_no_other(cache: Path):
    plan = lambda prompt, _: "400" if "of q2?" in prompt else None  # noqa: E731
    with FaultyServer(right, plan=plan, complaint="prompt too long") as server:
        replies = {reply.key: reply for reply in ask(questions(60), backend(server, concurrency=4), cache=cache)}
        assert {key for key, reply in replies.items() if reply.status != "ok"} == {"q2"}
        assert [body["response_format"]["type"] for body in server.bodies if asked_of(body) == "q9"] == ["json_schema"]


@pytest.mark.parametrize("status", ["401", "403"])
def test_a_refused_key_ends_the_job_naming_the_variable_not_the_key(
    status: str, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PARROT_KEY", "sk-planted-secret")
    with FaultyServer(right, plan=always(status), complaint="bad key sk-planted-secret, go away") as server:
        asker = Server(Endpoint(server.url, "parrot", "PARROT_KEY"), concurrency=4)
        with pytest.raises(AccessDenied, match=rf"{status}: bad key \[PARROT_KEY\].* variable PARROT_KEY") as caught:
            list(ask(questions(100), asker, cache=cache))
        assert server.calls <= 4
        assert set(server.keys) == {"Bearer sk-planted-secret"}
    assert "sk-planted" not in str(caught.value)


def test_a_server_that_does_nothing_but_fail_ends_the_job(cache: Path):
    with FaultyServer(right, plan=always("500")) as server:
        with pytest.raises(ServerFailing, match=rf"{server.url} has failed 20 times in a row, last with: .* 500"):
            list(ask(questions(500), backend(server), cache=cache))
        assert server.calls <= 20 + 8


@pytest.mark.parametrize("fault", ["404", "429"])
def test_a_wrong_address_and_a_server_that_stays_busy_end_it_too(fault: str, cache: Path):
    with FaultyServer(right, plan=always(fault), complaint="no model parrot") as server:
        with pytest.raises(ServerFailing, match=f"20 times in a row, last with: .* {fault}: no model parrot"):
            list(ask(questions(500), backend(server, retries=1), cache=cache))
        assert server.calls <= 2 * 28


def test_an_account_without_money_is_not_a_busy_server(cache: Path):
    """OpenAI says so by 429 too, and will say so for ever."""
    with FaultyServer(right, plan=always("429"), code="insufficient_quota", complaint="pay up") as server:
        with pytest.raises(AccessDenied, match="429: pay up"):
            list(ask(questions(100), backend(server), cache=cache))
        assert server.calls <= 8


def test_a_server_that_is_only_busy_is_waited_for(cache: Path):
    """Many more 429 in a row than would make a failing server."""
    with FaultyServer(right, plan=first("429", 5)) as server:
        replies = list(ask(questions(30), backend(server, concurrency=8), cache=cache))
        assert {reply.status for reply in replies} == {"ok"}
        assert server.calls == 180


def test_where_nobody_listens(cache: Path):
    asker = Server(Endpoint(f"http://127.0.0.1:{free_port()}/v1", "parrot", None), backoff=0.001, retries=1)
    (reply,) = ask(questions(1), asker, cache=cache)
    assert (reply.status, reply.attempts) == ("error", 2)
    assert "failed (ConnectError: All connection attempts failed)" in reply.error
    with pytest.raises(ServerFailing):
        list(ask(questions(50), asker, cache=cache))


@pytest.mark.parametrize("address", ["localhost:8000/v1", "ftp://somewhere", "", "http://"])
def test_what_is_no_address_is_refused(address: str):
    with pytest.raises(LLMKitError, match="no address of a server"):
        Endpoint(address, "parrot", None)


def test_an_address_with_a_password_is_refused_without_showing_it():
    with pytest.raises(LLMKitError, match="address of https://somewhere/v1 holds a user or password") as caught:
        Endpoint("https://me:hush@somewhere/v1", "parrot", None)
    assert "hush" not in str(caught.value)


# Waiting


@pytest.mark.parametrize("form", ["seconds", "milliseconds", "date"])
def test_retry_after_is_honoured(form: str, cache: Path):
    def headers() -> dict[str, str]:
        if form == "date":  # whole seconds only: two from now is at least one
            return {"Retry-After": format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)}
        return {"Retry-After": "0.6"} if form == "seconds" else {"retry-after-ms": "600", "Retry-After": "99"}

    times: list[float] = []

    def plan(prompt: str, repetition: int) -> str | None:
        times.append(time.monotonic())
        return "429" if repetition == 0 else None

    with FaultyServer(right, plan=plan, retry_after=headers) as server:
        (reply,) = ask(questions(1), backend(server), cache=cache)
    assert reply.status == "ok"
    assert 0.6 <= times[1] - times[0] < 5


def test_nobody_waits_an_hour(cache: Path):
    with FaultyServer(right, plan=always("429"), retry_after=lambda: {"Retry-After": "3600"}) as server:
        (reply,) = ask(questions(1), backend(server), cache=cache)
        assert server.calls == 1
    assert (reply.status, reply.error.endswith("it asks to wait 3600 s")) == ("error", True)


def test_pauses_double_are_spread_and_repeat_themselves():
    pauses = [[pause(f"q{number}", repetition, 0.5, None) for repetition in range(12)] for number in range(200)]
    assert pauses == [[pause(f"q{number}", repetition, 0.5, None) for repetition in range(12)] for number in range(200)]
    for repetition in range(12):
        middle = min(0.5 * 2**repetition, 60)
        drawn = [each[repetition] for each in pauses]
        assert all(0.5 * middle <= each <= 1.5 * middle for each in drawn)
        assert max(drawn) - min(drawn) > 0.8 * middle
    assert pause("q", 0, 0.5, 30.0) >= 30


@pytest.mark.parametrize("value", ["soon", "", "nan", "inf", "Sun, 99 Foo 2030"])
def test_a_retry_after_that_says_nothing_is_passed_over(value: str):
    assert wanted_pause({"retry-after": value}) is None


def test_a_time_that_has_passed_is_now():
    assert wanted_pause({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    assert wanted_pause({"retry-after": "-5"}) == 0
    assert wanted_pause({}) is None


# What the server understands


@pytest.mark.parametrize(
    ("formats", "tried"),
    [
        (("json_schema", "json_object"), ["json_schema"]),
        (("json_object",), ["json_schema", "json_object"]),
        ((), ["json_schema", "json_object", None]),
    ],
)
def test_a_format_that_is_refused_is_tried_once_per_server(
    formats: tuple[str, ...], tried: list[str | None], cache: Path
):
    """Eight ask at the same time, twice; one finds out, and the rest know."""
    with FaultyServer(right, formats=formats, delay=0.02) as server:
        asker = backend(server)
        for start in (0, 20):
            replies = list(ask(questions(20, start), asker, cache=cache))
            assert {reply.key: reply.value for reply in replies} == {
                each.key: value(each.key) for each in questions(20, start)
            }
        styles = [body.get("response_format", {}).get("type") for body in server.bodies]
    assert styles == tried[:-1] + tried[-1:] * 40
    last = server.bodies[-1]["messages"][-1]["content"]
    assert ('"city"' in last) == (tried != ["json_schema"])  # else the model must read the schema


class Anything(BaseModel):
    facts: dict[str, str] = Field(min_length=1)


def test_a_schema_that_is_refused_leaves_the_others_theirs(cache: Path):
    """Forced answers cannot be of every form; a server says so by 400, and takes the next question's."""

    def plan(prompt: str, repetition: int) -> str | None:
        return "400" if "of free" in prompt and "JSON schema" not in prompt else None

    def answer(body: dict) -> str:
        return json.dumps({"facts": {"a": "b"}}) if "free" in asked_of(body) else right(body)

    with FaultyServer(answer, plan=plan, complaint="Invalid schema for response_format") as server:
        asked = [question("a"), question("free", form=Anything), question("b"), question("c")]
        replies = list(ask(asked, backend(server, concurrency=1), cache=cache))
        assert {reply.status for reply in replies} == {"ok"}
        styles = [(asked_of(body), body["response_format"]["type"]) for body in server.bodies]
    assert styles == [
        ("a", "json_schema"),
        ("free", "json_schema"),
        ("free", "json_object"),
        ("b", "json_schema"),
        ("c", "json_schema"),
    ]


def test_the_token_limit_has_the_name_that_the_server_knows(cache: Path):
    def plan(prompt: str, repetition: int) -> str | None:
        return "400" if "max_tokens" in server.bodies[-1] else None

    complaint = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    with FaultyServer(right, plan=plan, complaint=complaint) as server:
        replies = list(ask(questions(10), backend(server, concurrency=1, max_tokens=50), cache=cache))
        assert {reply.status for reply in replies} == {"ok"}
        assert server.calls == 11
        assert {body.get("max_completion_tokens") for body in server.bodies[1:]} == {50}
        assert server.bodies[-1]["response_format"]["type"] == "json_schema"


def test_a_form_named_beyond_ascii_is_sent_under_a_name_that_servers_take():
    form = type("Größe[int]", (Capital,), {})
    request = Request("r", ({"role": "user", "content": "?"},), form, "{}")
    body = Dialect().body(request, "parrot", 0, None, 9)
    assert body["response_format"]["json_schema"]["name"] == "Gr__e_int_"


# All of it at the same time


@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), rate=st.sampled_from([0.3, 0.5]))
def test_at_any_rate_of_faults_every_question_ends_and_no_answer_is_invented(
    seed: int, rate: float, tmp_path_factory: pytest.TempPathFactory
):
    quick = [fault for fault in FAULTS if fault not in ("hang", "drip")]
    plan = seeded(rate, quick, seed)
    with FaultyServer(right, plan=plan) as server:
        cache = tmp_path_factory.mktemp("c") / "answers.db"
        replies = list(ask(questions(40), backend(server, retries=8), cache=cache))
        assert sorted(reply.key for reply in replies) == sorted(each.key for each in questions(40))
        for reply in replies:
            assert (reply.value == value(reply.key)) if reply.status == "ok" else (reply.value is None)
            assert reply.status != "error"  # nine faults in a row do not happen here
        before = server.calls
        again = {reply.key: reply for reply in ask(questions(40), backend(server), cache=cache)}
        assert server.calls == before
        assert {key: (each.status, each.value, each.text) for key, each in again.items()} == {
            each.key: (each.status, each.value, each.text) for each in replies
        }


def test_thirty_per_cent_of_faults_slow_ones_included(cache: Path):
    """What each question comes to can be read off the server's plan."""
    plan = seeded(0.3, FAULTS, seed=4)
    with FaultyServer(right, plan=plan) as server:
        replies = {reply.key: reply for reply in ask(questions(100), backend(server, timeout=0.5), cache=cache)}
        assert len(replies) == 100
        assert server.calls == sum(reply.attempts for reply in replies.values()) > 120
        for each in questions(100):
            body = {"messages": each.messages}
            reply = replies[each.key]
            came = next(fault for n in range(9) if (fault := plan(prompt_of(body), n)) not in PASSING)
            if came not in UNUSABLE:
                assert (reply.status, reply.value) == ("ok", value(each.key))
            else:
                assert reply.status in ("ok", "invalid")
                assert reply.attempts >= 2
