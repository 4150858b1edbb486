"""The record of what was sent and what came back, without any key."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llmkit.question import Status


@dataclass(frozen=True)
class Exchange:
    """One answer of the model, or the failure to get one, with all attempts it took. A second asking is another one.

    Attributes:
        key, sample, turn: the question's; turn 1 is the second asking, after an answer that could not be used.
        backend: the server's address, or the local model's folder.
        model: the model asked.
        request: the body of the last request as it was sent, or what the local model was given.
        response: what the model wrote; empty where it wrote nothing.
        status: as in `Reply`, for this answer alone.
        error: what was wrong, where not `ok`.
        attempts: requests sent.
        start_ns, end_ns: from the first request to the last answer, in nanoseconds since 1970.
        prompt_tokens, completion_tokens: as the server counted them; 0 where it did not say.
    """

    key: str
    sample: int
    turn: int
    backend: str
    model: str
    request: dict[str, Any]
    response: str
    status: Status
    error: str
    attempts: int
    start_ns: int
    end_ns: int
    prompt_tokens: int
    completion_tokens: int

    def as_trace(self) -> dict[str, Any]:
        """Arguments of runkit's `run.trace`: `ask(..., record=lambda exchange: run.trace(**exchange.as_trace()))`."""
        message = {"role": "assistant", "content": self.response}
        return {
            "name": f"{self.key}/{self.sample}" + "/again" * self.turn,
            "inputs": self.request,
            "outputs": {"choices": [{"message": message}]},
            "start_ns": self.start_ns,
            "end_ns": self.end_ns,
            "error": self.error,
            "tokens": (self.prompt_tokens, self.completion_tokens),
            "attributes": {
                "backend": self.backend,
                "model": self.model,
                "status": self.status,
                "attempts": self.attempts,
            },
        }


def append_jsonl(path: Path) -> Callable[[Exchange], None]:
    """A recorder for `ask(record=...)`: appends each exchange to `path` as one line of JSON, in one write."""
    path.parent.mkdir(parents=True, exist_ok=True)

    def record(exchange: Exchange) -> None:
        line = json.dumps(asdict(exchange), ensure_ascii=False) + "\n"
        with path.open("ab", buffering=0) as file:
            file.write(line.encode())

    return record
