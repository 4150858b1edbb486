"""Asking an OpenAI-compatible server."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from llmkit.budget import Account
from llmkit.dialect import Dialect
from llmkit.endpoint import Endpoint
from llmkit.errors import UsageError
from llmkit.wire import ServerSession


@dataclass(frozen=True)
class Server:
    """A model behind an OpenAI-compatible server (OpenAI, Azure, vLLM, llama.cpp, Ollama, ...).

    Answers are asked for as a JSON schema; where the server refuses that, as a JSON object; where it refuses that too,
    in words. What a server takes is found out once and remembered as long as this object lives.

    Attributes:
        endpoint: where, which model, and the variable that holds the key.
        temperature: of sampling; None leaves it to the server (some models take no other than their own).
        max_tokens: most tokens of one answer.
        concurrency: requests under way at the same time.
        timeout: seconds after which an answer is given up, however it trickles in.
        retries: how often a request that failed in passing is repeated.
        backoff: seconds before the first repetition, doubled each time; a server that asks for more gets it.

    Raises:
        UsageError: a number that makes no sense.
    """

    endpoint: Endpoint
    temperature: float | None = 0.0
    max_tokens: int = 1024
    concurrency: int = 8
    timeout: float = 120.0
    retries: int = 6
    backoff: float = 0.5
    _dialect: Dialect = field(default_factory=Dialect, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        least = {"max_tokens": 1, "concurrency": 1, "retries": 0, "backoff": 0}
        for name, bound in least.items():
            if not getattr(self, name) >= bound:
                raise UsageError(f"a server's {name} is at least {bound}, not {getattr(self, name)}")
        if not self.timeout > 0:
            raise UsageError(f"a server's timeout is more than 0 seconds, not {self.timeout}")

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides an answer besides messages and schema: part of the cache's key."""
        return {
            "base_url": self.endpoint.place,
            "model": self.endpoint.model,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
        }

    @property
    def place(self) -> str:
        """The server's address, without anything secret."""
        return self.endpoint.place

    @property
    def name(self) -> str:
        """The model's name on the server."""
        return self.endpoint.model

    @asynccontextmanager
    async def open(self, account: Account) -> AsyncGenerator[ServerSession]:
        """Ready to answer within what the account allows.

        Raises:
            MissingKeyError: the variable that should hold the key is not set.
        """
        async with self.endpoint.client(timeout=self.timeout) as client:
            yield ServerSession(self, client, self._dialect, account)
