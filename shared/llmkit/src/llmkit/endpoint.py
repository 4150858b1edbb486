"""Where an LLM is asked: an OpenAI-compatible server, one of its models, and the variable that holds the key."""

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from llmkit.errors import LLMKitError, UsageError

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_SHORTEST = 6  # a shorter key (`EMPTY`, `none`) is no secret, and would blot out ordinary words


class MissingKeyError(LLMKitError, ValueError):
    """The environment variable that should hold the key holds none."""


@dataclass(frozen=True)
class Endpoint:
    """A model on a server. The key itself is never kept here, so that no print, log or record can show it.

    Attributes:
        base_url: the server, up to and with its version: `https://api.openai.com/v1`, `http://localhost:8000/v1`.
        model: the model's name on that server.
        key_variable: name of the environment variable that holds the key; None for a server that asks for none.

    Raises:
        UsageError: the address does not begin with http:// or https://, or holds a password.
    """

    base_url: str
    model: str
    key_variable: str | None = "OPENAI_API_KEY"

    def __post_init__(self) -> None:
        if not re.match(r"https?://[^/\s]", self.base_url):
            raise UsageError(f"{self.place!r} is no address of a server: it must begin with http:// or https://")
        if self.place != self.base_url.partition("?")[0].rstrip("/"):  # the HTTP client would log it
            raise UsageError(f"the address of {self.place} holds a user or password: name a key variable instead")

    @property
    def place(self) -> str:
        """The address without what may be secret in it: user, password, query."""
        return re.sub(r"(?<=://)[^/@\s]+@", "", self.base_url).partition("?")[0].rstrip("/")

    def client(self, *, timeout: float = 120.0) -> "AsyncOpenAI":
        """An async client that does not retry by itself: whoever asks counts, spaces and records every attempt.

        Args:
            timeout: seconds to wait for the server at any one point.

        Raises:
            MissingKeyError: the variable is not set, or holds what cannot be a key.
        """
        from openai import AsyncOpenAI

        return AsyncOpenAI(base_url=self.base_url, api_key=self._key(), max_retries=0, timeout=timeout)

    def redact(self, text: str) -> str:
        """`text` with the key, wherever it stands, replaced by its variable's name."""
        key = os.environ.get(self.key_variable or "", "").strip()
        return text.replace(key, f"[{self.key_variable}]") if len(key) >= _SHORTEST else text

    def redact_all(self, value: Any) -> Any:
        """`redact` for every string in nested dictionaries and lists."""
        if isinstance(value, str):
            return self.redact(value)
        if isinstance(value, dict):
            return {name: self.redact_all(each) for name, each in cast("dict[str, Any]", value).items()}
        if isinstance(value, list | tuple):
            return [self.redact_all(each) for each in cast("list[Any]", value)]
        return value

    def _key(self) -> str:
        if self.key_variable is None:
            return "none"  # the client insists on a key; servers without keys do not look at it
        key = os.environ.get(self.key_variable, "").strip()
        if not key:
            raise MissingKeyError(
                f"no key for {self.place}: set the environment variable {self.key_variable}, "
                "or name another one, or none for a server that asks for no key"
            )
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise MissingKeyError(f"the environment variable {self.key_variable} holds characters that no key has")
        return key
