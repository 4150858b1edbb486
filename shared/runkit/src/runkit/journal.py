"""An append-only record of what happened, one JSON object per line, each sealed with its own hash.

A line is in the file as soon as `append` returns, so a kill loses nothing; a torn last line (power cut) is cut off when
the journal is opened again; damage anywhere else is found by the seal.
"""

import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import orjson
import xxhash

from runkit.errors import DataError
from runkit.redact import redact_all

Event = dict[str, Any]
_SEAL = b',"seal":"'
_SYNC_EVERY = 1.0  # seconds between fsyncs of events that may be lost in a power cut


class Journal:
    """The journal at `path`, open for appending; one writer at a time (the run folder's lock sees to that)."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._cut_torn_tail()
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._synced = time.monotonic()

    def append(self, event: str, *, durable: bool = False, **fields: Any) -> Event:
        """Write one event; `durable` waits until it is on the disk. Returns the event as it will be read back."""
        record = {"event": event, "time": int(time.time() * 1000), **redact_all(_plain(fields))}
        os.write(self._file, seal(record))
        now = time.monotonic()
        if durable or now - self._synced > _SYNC_EVERY:
            os.fsync(self._file)
            self._synced = now
        return record

    def close(self) -> None:
        os.close(self._file)

    def _cut_torn_tail(self) -> None:
        if not self.path.exists():
            return
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        last = whole.rstrip(b"\n").rfind(b"\n") + 1
        if whole and unseal(whole[last:].rstrip(b"\n")) is None:
            whole = whole[:last]
        if len(whole) < len(content):
            print(f"{self.path}: its last line is damaged or cut short, and is left out", file=sys.stderr, flush=True)
            os.truncate(self.path, len(whole))


def read(path: Path, offset: int = 0) -> list[tuple[Event, int]]:
    """Events from byte `offset` on, each with the offset after it; an unfinished last line is left for later.

    Raises:
        DataError: a line before the last is damaged; the message names file and line.
    """
    events: list[tuple[Event, int]] = []
    for start, line, end in _lines(path, offset):
        event = unseal(line)
        if event is None:
            raise DataError(
                f"{path}: the line at byte {start} is damaged (its hash does not match); start again with --fresh"
            )
        events.append((event, end))
    return events


def start(path: Path) -> Event | None:
    """The event that a run's journal begins with: its stage, options, inputs. None where there is no journal.

    Raises:
        DataError: it is damaged; the message names the file.
    """
    if not path.exists():
        return None
    line = next((line for _, line, _ in _lines(path, 0)), None)
    if line is None:
        return None
    event = unseal(line)
    if event is None or event["event"] != "start":
        raise DataError(f"{path}: its first line is damaged, which says whose run it is: start again with --fresh")
    return event


def check(path: Path) -> None:
    """See that every line is whole, the last one too: it is in the journal of a run that has ended.

    Raises:
        DataError: a line is damaged; the message names file and line.
    """
    events = read(path)
    end = events[-1][1] if events else 0
    if end < path.stat().st_size:
        raise DataError(f"{path}: the line at byte {end} is cut short; the same command again leaves it out")


def intact(path: Path) -> list[Event]:
    """Every undamaged event; damaged lines are left out. For ledgers, where a lost line only means work done again."""
    if not path.exists():
        return []
    return [event for _, line, _ in _lines(path, 0) if (event := unseal(line)) is not None]


def seal(record: Event) -> bytes:
    """One line: the record as JSON with a hash of all that stands before it as last field."""
    body = orjson.dumps(record)
    return body[:-1] + _SEAL + xxhash.xxh3_64_hexdigest(body).encode() + b'"}\n'


def unseal(line: bytes) -> Event | None:
    """The record of a sealed line, or None where it is damaged."""
    body, mark, rest = line.rpartition(_SEAL)
    if not mark or rest != xxhash.xxh3_64_hexdigest(body + b"}").encode() + b'"}':
        return None
    return cast("Event", orjson.loads(body + b"}"))


def _lines(path: Path, offset: int) -> Iterator[tuple[int, bytes, int]]:
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            yield offset, line[:-1], offset + len(line)
            offset += len(line)


def _plain(value: Any) -> Any:
    """JSON has no NaN or infinity: they are written as words that `float` reads back. Paths become text."""
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in cast("dict[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in cast("list[Any]", value)]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
