"""What a server understands, learnt from what it refuses: the name of the token limit, the way to ask for JSON."""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

from pydantic import BaseModel

from llmkit.backend import Request, json_wanted, with_instruction

FORMATS = ("json_schema", "json_object", "text")
_FORMAT_REFUSED = re.compile(r"response_format|json_schema|json_object|schema|structured|grammar|guided", re.IGNORECASE)
_PROBING = 2.0  # seconds that others wait for the first request to find out


class Dialect:
    """A server's habits; outlives sessions, so that a job's second part does not learn them again."""

    def __init__(self) -> None:
        self._formats: dict[type[BaseModel], int] = {}
        self._limit = "max_tokens"

    def knows(self, form: type[BaseModel]) -> bool:
        """Whether an answer in this form has been got."""
        return form in self._formats

    def first(self, form: type[BaseModel]) -> int:
        """The format to try first: the one this form was answered in, or else the best not refused for another."""
        return self._formats.get(form, max(self._formats.values(), default=0))

    def next(self, form: type[BaseModel], index: int, complaint: str) -> int | None:
        """The format to try after a refusal; None where the refusal must be about something else."""
        known = form in self._formats and not _FORMAT_REFUSED.search(complaint)
        return None if known or index + 1 == len(FORMATS) else index + 1

    def learn(self, form: type[BaseModel], index: int) -> None:
        """This format was answered."""
        self._formats[form] = index

    def rename_limit(self, complaint: str) -> bool:
        """Whether the refusal was about the token limit's old name, which newer models do not take."""
        if self._limit == "max_completion_tokens" or "max_completion_tokens" not in complaint:
            return False
        self._limit = "max_completion_tokens"
        return True

    def body(self, request: Request, model: str, index: int, temperature: float | None, most: int) -> dict[str, Any]:
        """The request as it is sent."""
        style = FORMATS[index]
        plain = request.messages if index == 0 else with_instruction(request.messages, json_wanted(request.schema))
        body: dict[str, Any] = {"model": model, "messages": list(plain), self._limit: most}
        if temperature is not None:
            body["temperature"] = temperature
        if style == "json_schema":
            body["response_format"] = {"type": style, "json_schema": _strict(request.answer)}
        elif style == "json_object":
            body["response_format"] = {"type": style}
        return body


class Probes:
    """Lets the first request with a form go ahead, so that a refusal is met once and not by all at the same time."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._under_way: dict[type[BaseModel], asyncio.Event] = {}

    @asynccontextmanager
    async def turn(self, form: type[BaseModel]) -> AsyncGenerator[None]:
        """Wait for the first request to find out, though not long: it may be a slow one."""
        if probe := self._under_way.get(form):
            with suppress(TimeoutError):
                await asyncio.wait_for(probe.wait(), _PROBING)
        if self._dialect.knows(form) or form in self._under_way:
            yield
            return
        probe = self._under_way[form] = asyncio.Event()
        try:
            yield
        finally:
            del self._under_way[form]
            probe.set()


def _strict(form: type[BaseModel]) -> dict[str, Any]:
    """The schema in the subset that servers can force an answer into: every field required, no others."""
    from openai import pydantic_function_tool

    name = re.sub(r"\W", "_", form.__name__, flags=re.ASCII)[:64]
    parameters = pydantic_function_tool(form)["function"].get("parameters", {})
    return {"name": name, "schema": parameters, "strict": True}
