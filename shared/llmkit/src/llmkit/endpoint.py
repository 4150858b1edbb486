"""Where an LLM is asked: an OpenAI-compatible server, one of its models, and the variable that holds the key."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openai import AsyncOpenAI


class MissingKeyError(ValueError):
    """The environment variable that should hold the key is not set."""

    user_facing = True


@dataclass(frozen=True)
class Endpoint:
    """A model on a server. The key itself is never kept here, so that no print, log or record can show it.

    Attributes:
        base_url: the server, up to and with its version: `https://api.openai.com/v1`, `http://localhost:8000/v1`.
        model: the model's name on that server.
        key_variable: name of the environment variable that holds the key; None for a server that asks for none.
    """

    base_url: str
    model: str
    key_variable: str | None = "OPENAI_API_KEY"

    def client(self, *, timeout: float = 120.0) -> "AsyncOpenAI":
        """An async client that does not retry by itself: whoever asks counts, spaces and records every attempt.

        Args:
            timeout: seconds to wait for one answer.

        Raises:
            MissingKeyError: the variable is not set.
        """
        from openai import AsyncOpenAI

        return AsyncOpenAI(base_url=self.base_url, api_key=self._key(), max_retries=0, timeout=timeout)

    def _key(self) -> str:
        if self.key_variable is None:
            return "none"  # the client insists on a key; servers without keys do not look at it
        key = os.environ.get(self.key_variable, "")
        if not key:
            raise MissingKeyError(
                f"no key for {self.base_url}: set the environment variable {self.key_variable}, "
                f"or name another one; a server that asks for no key takes key_variable=None"
            )
        return key
