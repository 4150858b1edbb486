"""Ctrl-C and SIGTERM at any moment: the command says how it goes on, leaves nobody behind, and is quick about it."""

import os
import random
import signal
import time
from pathlib import Path

import pytest
from runkit import journal
from runkit.errors import UsageError
from runkit.lock import Lock

from tests.faults import crewing
from tests.faults.commands import Command, argv
from tests.faults.pipelines import PIPELINES
from tests.shared.runkit.serving import eventually

TIMES = {signal.SIGINT: 4, signal.SIGTERM: 1}
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
SOON = 2.0  # seconds


def _progress(place: Path) -> int:
    """Events that the runs of this folder have put on record."""
    return sum(path.read_bytes().count(b"\n") for path in place.glob("runs/*/journal.jsonl"))


def _statuses(run: Path) -> list[str]:
    return [event["status"] for event in journal.intact(run / "journal.jsonl") if event["event"] == "status"]


def _locked(run: Path) -> bool:
    try:
        Lock(run).release()
    except UsageError:
        return True
    return False


def _left(group: int) -> list[str]:
    """Processes of a group that are still there after some seconds; one whose parent has not looked is none."""
    for _ in range(50):
        alive = [
            stat.parent.name
            for stat in Path("/proc").glob("[0-9]*/stat")
            if (told := _fields(stat)) and int(told[2]) == group and told[0] != "Z"
        ]
        if not alive:
            return []
        time.sleep(0.1)
    return alive


def _fields(stat: Path) -> list[str]:
    try:
        return stat.read_text().rpartition(")")[2].split()
    except OSError:  # it has just ended
        return []


@pytest.mark.parametrize("number", CODES, ids=["Ctrl-C", "SIGTERM"])
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_told_to_end(processes, tmp_path: Path, figures, pipeline: str, number: signal.Signals):
    """Again and again, each time a little further; a pipeline that gets to its end is begun anew."""
    dice, took, begun = random.Random(f"{pipeline}{number}"), list[float](), 0
    while len(took) < TIMES[number]:
        place = tmp_path / f"place{begun}"
        wanted = _progress(place) + dice.randint(1, 25)
        command = Command(processes, pipeline, place)
        while command.process.is_alive() and _progress(place) < wanted:
            command.process.join(0.002)
        if command.process.is_alive():
            command.signal(number)
        ended = command.ended()
        if ended.code == 0:
            begun += 1
            continue
        took.append(ended.seconds)
        assert ended.code == CODES[number], ended.said[-2000:]
        resume = ended.said.partition("interrupted; the same command goes on where it stopped:\n  ")[2]
        assert resume.split()[: len(argv(pipeline))] == ["reasonscope", *argv(pipeline)][: len(argv(pipeline))], resume
        assert "Traceback" not in ended.said, ended.said[-3000:]
        assert _left(command.process.pid) == []
        assert [run.name for run in place.glob("runs/*") if _statuses(run)[-1:] == ["RUNNING"]] == []
    assert sorted(took)[len(took) // 2] < SOON
    figures(
        "Ctrl-C" if number == signal.SIGINT else "SIGTERM", f"`{pipeline}` pipeline",
        tried=f"{TIMES[number]} at random",
        held=f"exit {CODES[number]} within 2 s, with the command that goes on; no process is left",
    )  # fmt: skip


@pytest.fixture
def side_by_side(processes, tmp_path: Path):
    """A command, two of whose three stages are at work."""
    process = processes.Process(target=crewing.command, args=(tmp_path, tmp_path / "said"))
    process.start()
    while len(list(tmp_path.glob("runs/*/journal.jsonl"))) < 2 or _progress(tmp_path) < 8:
        assert process.is_alive(), (tmp_path / "said").read_text()
        process.join(0.05)
    return process


@pytest.mark.parametrize("to_all", [True, False], ids=["Ctrl-C in a terminal", "SIGTERM by a scheduler"])
def test_stages_side_by_side_end_with_their_command(side_by_side, tmp_path: Path, figures, to_all: bool):
    """A terminal tells all processes, a scheduler the first alone."""
    process, said = side_by_side, tmp_path / "said"
    if to_all:
        os.killpg(process.pid, signal.SIGINT)
    else:
        os.kill(process.pid, signal.SIGTERM)
    since = time.monotonic()
    process.join()
    took = time.monotonic() - since
    assert process.exitcode == (130 if to_all else 143), said.read_text()
    assert _left(process.pid) == []
    runs = list(tmp_path.glob("runs/*"))
    assert len(runs) == 2, "the third one must not be begun"
    assert [_statuses(run)[-1] for run in runs] == ["KILLED", "KILLED"]
    assert "goes on where it stopped" in said.read_text()
    assert "Traceback" not in said.read_text()
    assert took < SOON
    figures(
        "Ctrl-C" if to_all else "SIGTERM", "stages side by side",
        tried="2 processes of a pipeline at work" + ("" if to_all else ", the signal to the pipeline alone"),
        held="both put on record that they were ended, within 2 s; no process is left",
    )  # fmt: skip


def test_stages_side_by_side_do_not_outlive_a_command_that_is_killed(side_by_side, tmp_path: Path, figures):
    """It could not tell them: their folders are free again because they have seen for themselves."""
    runs = list(tmp_path.glob("runs/*"))
    assert all(map(_locked, runs))
    os.kill(side_by_side.pid, signal.SIGKILL)
    side_by_side.join()
    assert _left(side_by_side.pid) == []
    eventually(lambda: not any(map(_locked, runs)), seconds=5)
    figures(
        "SIGKILL", "stages side by side", tried="2 processes of a pipeline at work, the signal to the pipeline alone",
        held="no process is left, and no folder is locked",
    )  # fmt: skip
