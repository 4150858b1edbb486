"""What was answered once is never asked again, by whatever process; and no answer is given for another question."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from llmkit import CacheDamaged, Endpoint, LLMKitError, Question, ask, estimate
from pydantic import BaseModel, Field

from tests.shared.llmkit.asking import Capital, backend, question, questions, right, value
from tests.shared.llmkit.server import FaultyServer, always, prompt_of, seeded

ASKER = """
import sys
from pathlib import Path
from llmkit import Endpoint, Server, ask
from tests.shared.llmkit.asking import questions
server = Server(Endpoint(sys.argv[1], "parrot", None), backoff=0.002, timeout=10)
for reply in ask(questions(int(sys.argv[3])), server, cache=Path(sys.argv[2])):
    print(reply.key, reply.text.replace(" ", ""), flush=True)
"""


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "answers.db"


def asker(url: str, cache: Path, count: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", ASKER, url, str(cache), str(count)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONPATH": "."},
    )


def test_a_killed_process_repeats_no_answered_call(cache: Path):
    """Killed with -9 in the middle, on a server that misbehaves; what it had been told is not asked again."""
    with FaultyServer(right, plan=seeded(0.3, ["500", "malformed", "half"]), delay=0.01) as server:
        process = asker(server.url, cache, 60)
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(17)]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.read().splitlines()  # what was on its way when the signal came
        process.wait()
        told = [line.split()[0] for line in lines]
        asked = server.asked.copy()
        known = estimate(questions(60), backend(server), cache=cache).cached
        replies = {reply.key: reply for reply in ask(questions(60), backend(server), cache=cache)}
        repeated = {prompt for prompt, times in server.answered.items() if times > 1}
        first_run = {prompt_of({"messages": question(key).messages}) for key in told}
    assert len(told) <= known < 60
    assert len(replies) == 60
    assert all(reply.value == value(key) for key, reply in replies.items() if reply.status == "ok")
    assert all(replies[key].cached for key in told)
    assert not first_run & repeated
    assert all(server.asked[prompt] == asked[prompt] for prompt in first_run)
    assert len(repeated) <= 8  # answers that were under way to the process when it died


def test_two_processes_share_a_cache_from_its_first_moment(cache: Path):
    """A server that answers the same question differently each time: one of its answers counts, for both of them."""
    serial = count()
    with FaultyServer(lambda body: f'{{"city": "{next(serial)}", "sure": true}}', delay=0.01) as server:
        both = [asker(server.url, cache, 40) for _ in range(2)]
        told = [dict(line.split() for line in process.communicate(timeout=60)[0].splitlines()) for process in both]
        assert [process.returncode for process in both] == [0, 0]
        kept = {reply.key: reply.text.replace(" ", "") for reply in ask(questions(40), backend(server), cache=cache)}
        assert 40 <= server.calls <= 80
    assert told == [kept, kept]
    assert len(kept) == len(set(kept.values())) == 40


class Capital2(Capital):
    city: str = Field(description="in its own language")


def test_whatever_decides_an_answer_keeps_the_answers_apart(cache: Path):
    """Every one of these is a different request; asked twice, each is asked once."""
    with FaultyServer(right) as server, FaultyServer(right) as other:
        plain, same = question("q"), backend(server)
        messages = ({"role": "system", "content": "capital of q?"}, *plain.messages)
        kinds = [
            (plain, same),
            (plain, backend(other)),
            (plain, replace(same, endpoint=Endpoint(server.url, "crow", None))),
            (plain, replace(same, temperature=0.7)),
            (plain, replace(same, temperature=None)),
            (plain, replace(same, max_tokens=7)),
            (replace(plain, sample=1), same),
            (replace(plain, messages=messages), same),
            (replace(plain, answer=Capital2), same),
        ]
        for cached in (False, True):
            for asked, server_asked in kinds:
                (reply,) = ask([asked], server_asked, cache=cache)
                assert (reply.status, reply.cached) == ("ok", cached)
        assert (server.calls, other.calls) == (len(kinds) - 1, 1)


def test_what_does_not_decide_an_answer_does_not(cache: Path):
    with FaultyServer(right) as server:
        list(ask(questions(1), backend(server), cache=cache))
        slashed = Endpoint(f"{server.url}/", "parrot", None)
        for same in (backend(server, timeout=9, retries=1, concurrency=3), replace(backend(server), endpoint=slashed)):
            (reply,) = ask([replace(question("q0"), key="other name")], same, cache=cache)
            assert (reply.key, reply.cached, reply.value) == ("other name", True, value("q0"))


def test_invalid_answers_are_kept_and_errors_are_not(cache: Path):
    with FaultyServer(right, plan=always("malformed")) as server:
        for attempts in (2, 0):
            (reply,) = ask(questions(1), backend(server), cache=cache)
            assert (reply.status, reply.attempts, reply.text) == ("invalid", attempts, "Well, I would say yes")
        server.plan = always("500")
        (reply,) = ask(questions(1, 1), backend(server, retries=0), cache=cache)
        assert reply.status == "error"
        server.plan = lambda prompt, _: None
        (reply,) = ask(questions(1, 1), backend(server), cache=cache)
        assert (reply.status, reply.cached) == ("ok", False)


def test_the_second_asking_is_taken_up_where_it_was_left(cache: Path):
    def plan(prompt: str, _: int) -> str | None:
        return "500" if "cannot be used" in prompt else "malformed"

    with FaultyServer(right, plan=plan) as server:
        (reply,) = ask(questions(1), backend(server, retries=0), cache=cache)
        assert (reply.status, reply.attempts) == ("error", 2)
        server.plan = lambda prompt, _: None
        (reply,) = ask(questions(1), backend(server), cache=cache)
        assert (reply.status, reply.attempts, reply.prompt_tokens) == ("ok", 1, 22)


def test_a_changed_form_is_never_answered_by_an_old_answer(cache: Path):
    class Wanted(BaseModel):
        city: str

    with FaultyServer(right) as server:
        for form in (Wanted, type("Wanted", (Capital,), {"__doc__": Capital.__doc__})):
            (reply,) = ask([Question("q", question("q").messages, form)], backend(server), cache=cache)
            assert isinstance(reply.value, form)
        assert server.calls == 2


# Damage


def filled(cache: Path, server: FaultyServer) -> None:
    list(ask(questions(50), backend(server), cache=cache))
    with sqlite3.connect(cache) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()


@pytest.mark.parametrize("damage", ["noise", "head", "page", "text", "cut"])
def test_a_damaged_cache_is_named_and_nothing_is_asked(damage: str, cache: Path):
    with FaultyServer(right) as server:
        filled(cache, server)
        content = bytearray(cache.read_bytes())
        if damage == "noise":
            content[:] = b"this is no database at all, but long enough to look like one" * 100
        elif damage == "head":
            content[:64] = bytes(64)
        elif damage == "page":
            content[4096:] = bytes(range(256)) * ((len(content) - 4096) // 256)
        elif damage == "text":
            place = content.index(b"city of q7")
            content[place : place + 10] = b"city of XX"  # still SQLite, still JSON, no longer the answer
        else:
            del content[5000:]
        cache.write_bytes(content)
        calls = server.calls
        with pytest.raises(CacheDamaged, match="Move it away") as caught:
            list(ask(questions(50), backend(server), cache=cache))
        assert str(cache) in str(caught.value)
        with pytest.raises(CacheDamaged):
            estimate(questions(50), backend(server), cache=cache)
        assert server.calls == calls
        cache.unlink()  # as the message says
        assert len(list(ask(questions(50), backend(server), cache=cache))) == 50


def test_another_programs_database_is_left_alone(cache: Path):
    with sqlite3.connect(cache) as database:
        database.execute("CREATE TABLE runs (id)")
    database.close()
    before = cache.read_bytes()
    with FaultyServer(right) as server, pytest.raises(LLMKitError, match="another program's database"):
        list(ask(questions(1), backend(server), cache=cache))
    assert cache.read_bytes() == before


def test_a_place_where_no_file_can_be_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    for place in (tmp_path, tmp_path / "file" / "answers.db"):
        with FaultyServer(right) as server, pytest.raises(LLMKitError, match="cannot be opened"):
            list(ask(questions(1), backend(server), cache=place))


def test_a_copied_cache_goes_on_elsewhere(cache: Path, tmp_path: Path):
    with FaultyServer(right) as server:
        filled(cache, server)
        shutil.copy(cache, tmp_path / "copy.db")
        assert all(reply.cached for reply in ask(questions(50), backend(server), cache=tmp_path / "copy.db"))
