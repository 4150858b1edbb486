"""The key goes to the server, and nowhere else: not even when the server itself tells it."""

import logging
import traceback
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from llmkit import Endpoint, LLMKitError, Server, append_jsonl, ask
from llmkit.endpoint import MissingKeyError

from tests.shared.llmkit.asking import question, questions, right
from tests.shared.llmkit.server import Body, FaultyServer, always

KEY = "sk-planted-0123456789"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "answers.db"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARROT_KEY", f" {KEY}\n")  # as pasted


@pytest.fixture
def logged() -> Iterator[StringIO]:
    """Whatever any library logs, however little it matters."""
    root, text = logging.getLogger(), StringIO()
    handler, level = logging.StreamHandler(text), root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield text
    root.setLevel(level)
    root.removeHandler(handler)


def test_no_file_log_reply_or_print_holds_the_key(
    cache: Path, tmp_path: Path, logged: StringIO, capfd: pytest.CaptureFixture[str]
):
    """A server that puts the key into its answers, its refusals and its errors; a prompt that holds it too."""

    def telling(body: Body) -> str:
        return right(body).replace("city of", f"{KEY} of")

    def plan(prompt: str, repetition: int) -> str | None:
        kinds = {"q1?": "500", "q2?": "400", "q3?": "refuse", "q4?": "truncate", "q5?": "404", "q6?": "malformed"}
        return next((fault for name, fault in kinds.items() if name in prompt), None)

    with FaultyServer(telling, plan=plan, complaint=f"{KEY} is at its end") as server:
        asker = Server(Endpoint(server.url, "parrot", "PARROT_KEY"), backoff=0.001, retries=2)
        mine = replace(question("mine"), messages=({"role": "user", "content": f"What is the capital of {KEY}?"},))
        asked = [*questions(8), mine]
        replies = list(ask(asked, asker, cache=cache, record=append_jsonl(tmp_path / "exchanges.jsonl")))
        assert set(server.keys) == {f"Bearer {KEY}"}
    assert len(replies) == 9
    assert {reply.status for reply in replies} == {"ok", "error", "invalid"}
    assert "[PARROT_KEY] of q0" in "".join(reply.text for reply in replies)
    files = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    out, err = capfd.readouterr()
    shown = "".join(f"{reply.text} {reply.error} {reply.value}" for reply in replies)
    assert "HTTP Request" in logged.getvalue()
    for place in (files.decode(errors="replace"), logged.getvalue(), out, err, shown, repr(asker)):
        assert KEY not in place


@pytest.mark.parametrize("fault", ["401", "403"])
def test_no_traceback_holds_the_key(fault: str, cache: Path):
    with (
        FaultyServer(right, plan=always(fault), complaint=f"no such key: {KEY}") as server,
        pytest.raises(LLMKitError) as caught,
    ):
        list(ask(questions(3), Server(Endpoint(server.url, "parrot", "PARROT_KEY")), cache=cache))
    told = "".join(traceback.format_exception(caught.value))
    assert KEY not in told
    assert "[PARROT_KEY]" in told


def test_a_server_without_keys_is_sent_none_of_ours(cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with FaultyServer(right) as server:
        list(ask(questions(2), Server(Endpoint(server.url, "parrot", None)), cache=cache))
        assert not any(KEY in str(each) for each in server.keys)


def test_a_missing_key_is_told_before_anything_is_sent_but_only_where_it_is_needed(
    cache: Path, monkeypatch: pytest.MonkeyPatch
):
    with FaultyServer(right) as server:
        asker = Server(Endpoint(server.url, "parrot", "PARROT_KEY"))
        list(ask(questions(2), asker, cache=cache))
        monkeypatch.delenv("PARROT_KEY")
        assert [reply.status for reply in ask(questions(2), asker, cache=cache)] == ["ok", "ok"]
        with pytest.raises(MissingKeyError, match="set the environment variable PARROT_KEY"):
            list(ask(questions(3), asker, cache=cache))
        assert server.calls == 2


@pytest.mark.parametrize("value", ["sk-plänted-key", "sk-planted\nkey-2", "sk planted key"])
def test_what_cannot_be_a_key_is_told_without_showing_it(value: str, cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PARROT_KEY", value)
    with FaultyServer(right) as server:
        with pytest.raises(MissingKeyError, match="PARROT_KEY holds characters that no key has") as caught:
            list(ask(questions(1), Server(Endpoint(server.url, "parrot", "PARROT_KEY")), cache=cache))
        assert server.calls == 0
    assert "planted" not in str(caught.value)
