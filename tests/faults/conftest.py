"""The table of docs/faults.md, which the tests of this folder write and are held against, row by row."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from runkit import files

from tests.faults import pipelines
from tests.faults.killing import undisturbed

PAGE = Path(__file__).resolve().parents[2] / "docs" / "faults.md"
WRITE = "REASONSCOPE_WRITE_DOCS"


class Calm(NamedTuple):
    """The working folder of a pipeline that nothing disturbed, and how many seconds it took."""

    place: Path
    lasts: float


@pytest.fixture(scope="session")
def calm(processes, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Calm]:
    """By a pipeline's name; whoever moves or changes what is there puts it back."""

    @cache
    def made(name: str) -> Calm:
        place = tmp_path_factory.mktemp(name) / "work"
        undisturbed(processes.Process(target=pipelines.prepare, args=(name, place)))
        return Calm(place, undisturbed(processes.Process(target=pipelines.run, args=(name, place))))

    return made


@pytest.fixture(scope="session")
def figures() -> Callable[..., None]:
    """Put what a test found on the page: `figures(fault, what, tried=..., held=...)`, as a test's last line.

    All four are text without `|`: the fault ("SIGKILL at random moments"), what it was done to ("`expgen` pipeline"),
    how often and where ("50 kills, each of 6 stages among them"), what held after it ("41 of 41 files byte-identical").
    Fault and what together are the row's key. Say only what every run on every machine gives again: counts that the
    test itself asserts, bounds instead of times ("within 2 s"), no paths.

    With REASONSCOPE_WRITE_DOCS=1 the row is written, in its place among the others; without, the test fails where
    the page says anything else. Any number of processes may do so at once.
    """
    return _write if os.environ.get(WRITE) == "1" else _compare


@contextmanager
def _one_writer() -> Iterator[None]:
    handle = os.open(PAGE.parent, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(handle)


@_one_writer()
def _write(fault: str, what: str, *, tried: str, held: str) -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    table = lines.index("|---|---|---|---|") + 1
    rows = [line for line in lines[table:] if not line.startswith(_key(fault, what))]
    rows = sorted([*rows, _row(fault, what, tried, held)])
    files.write_bytes(PAGE, ("\n".join([*lines[:table], *rows]) + "\n").encode())


def _compare(fault: str, what: str, *, tried: str, held: str) -> None:
    row = _row(fault, what, tried, held)
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(_key(fault, what))]
    assert rows == [row], f"docs/faults.md is stale: run this test again with {WRITE}=1, and read what changes"


def _key(fault: str, what: str) -> str:
    return f"| {fault} | {what} |"


def _row(*cells: str) -> str:
    assert not any("|" in cell or "\n" in cell for cell in cells), "a cell of a table has no | and no line end in it"
    return f"| {' | '.join(cells)} |"
