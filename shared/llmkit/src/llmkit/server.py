"""Asking an OpenAI-compatible server."""

from dataclasses import dataclass
from typing import Any

from llmkit.endpoint import Endpoint


@dataclass(frozen=True)
class Server:
    """A model behind an OpenAI-compatible server.

    Attributes:
        endpoint: where, which model, and the variable that holds the key.
        temperature: of sampling; None leaves it to the server (some models take no other).
        max_tokens: most tokens of one answer.
        concurrency: requests under way at the same time.
        timeout: seconds after which an answer is given up, however it trickles in.
        retries: how often a request that failed in passing is repeated.
        backoff: seconds before the first repetition; doubled each time, jittered, never less than the server asks for.
    """

    endpoint: Endpoint
    temperature: float | None = 0.0
    max_tokens: int = 1024
    concurrency: int = 8
    timeout: float = 120.0
    retries: int = 6
    backoff: float = 0.5

    @property
    def identity(self) -> dict[str, Any]:
        return {}
