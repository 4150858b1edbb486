"""All exchanges of a job on record as JSON lines: complete after any kill, and at the end in an order of their own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmkit.exchange import Exchange, append_jsonl
from llmkit.question import Reply

NAME = "exchanges.jsonl"


class Exchanges:
    """Takes in exchanges as they happen, and answers that the cache knew, in a file that a killed job goes on with.

    Attributes:
        calls: requests sent so far by this process.
    """

    def __init__(self, path: Path, trace: Callable[..., None]) -> None:
        """Append to `path`; `trace` gets each exchange as runkit's `run.trace` takes it."""
        self.calls = 0
        self._path, self._trace = path, trace
        self._append = append_jsonl(path)

    def __call__(self, model: str, said: Exchange | Reply) -> None:
        """Put one exchange of `model`, or one cached reply, on record."""
        if isinstance(said, Exchange):
            self.calls += said.attempts
            self._append(said)
            self._trace(**said.as_trace())
        elif said.cached:
            line = {"key": said.key, "sample": said.sample, "turn": 0, "model": model, "response": said.text}
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({**line, "status": said.status, "cached": True}, ensure_ascii=False) + "\n")

    def content(self) -> bytes:
        """The whole record, sorted by model and question; empty where nobody was asked."""
        lines = _settled(_intact(self._path)) if self._path.is_file() else []
        return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()


def _settled(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """In order of model and question; a cached answer is told once, and only where its exchange is not there."""
    by_question: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    for line in lines:
        by_question.setdefault((line["model"], line["key"], line["sample"]), []).append(line)
    settled: list[dict[str, Any]] = []
    for _, told in sorted(by_question.items()):
        sent = [line for line in told if not line.get("cached")]
        settled += sorted(sent, key=lambda line: line["start_ns"]) or told[:1]
    return settled


def _intact(path: Path) -> list[dict[str, Any]]:
    """The lines that are whole: a kill may leave a broken one."""
    found: list[dict[str, Any]] = []
    for line in path.read_bytes().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found
