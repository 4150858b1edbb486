"""What was asked and answered, on record as JSON lines: complete after any kill, and in an order of its own."""

import json
from pathlib import Path
from typing import Any

import runkit
from llmkit import Exchange, Reply, append_jsonl
from runkit import files

NAME = "exchanges.jsonl"


class Exchanges:
    """Takes in exchanges as they happen, each a trace of the run too, and answers that the cache knew.

    Attributes:
        calls: requests sent so far by this process.
    """

    def __init__(self, run: runkit.StageRun) -> None:
        self.calls = 0
        self._run = run
        self._path = run.folder / "parts" / NAME
        self._append = append_jsonl(self._path)

    def __call__(self, model: str, said: Exchange | Reply) -> None:
        """Put one exchange of `model`, or one cached reply, on record."""
        if isinstance(said, Exchange):
            self.calls += said.attempts
            self._append(said)
            self._run.trace(**said.as_trace())
        elif said.cached:
            line = {"key": said.key, "sample": said.sample, "turn": 0, "model": model, "response": said.text}
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({**line, "status": said.status, "cached": True}, ensure_ascii=False) + "\n")

    def finish(self) -> None:
        """Write exchanges.jsonl, sorted, as an artifact of the run; nothing where nobody was asked."""
        if not self._path.is_file():
            return
        lines = _settled(_intact(self._path))
        content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        files.write_bytes(self._run.folder / NAME, content.encode())
        self._run.artifact(NAME)


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
