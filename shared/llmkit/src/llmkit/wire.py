"""Requests over HTTP: counted, repeated where that may help, and read with distrust."""

import asyncio
import json
from typing import TYPE_CHECKING, Any, cast

from llmkit.backend import Completion, Failed, Request, Trail
from llmkit.budget import Account, Spending
from llmkit.dialect import Dialect, Probes
from llmkit.errors import AccessDenied
from llmkit.retry import LONGEST_WAIT, Health, pause, wanted_pause

if TYPE_CHECKING:
    from openai import APIConnectionError, APIStatusError, AsyncOpenAI

    from llmkit.server import Server

_PASSING = {408, 409, 425, 429}  # and all from 500
_OWN_FAULT = {400, 413, 415, 422}  # the request's, not the server's
_NOT_REACHED = {"ConnectError", "ConnectTimeout", "PoolTimeout"}  # httpx's names: nothing has been sent
_LONGEST_COMPLAINT = 300  # characters of a server's error worth showing
_ONE_CALL = Spending(calls=1)


class Hiccup(Exception):
    """A failure that may pass.

    Attributes:
        used: what it has cost; None where the server may have answered unheard, so that all must be reckoned with.
        wait: seconds that the server asks to wait.
        busy: the server turned it away for having too much to do, which is no fault.
    """

    def __init__(self, reason: str, used: Spending | None, *, wait: float | None = None, busy: bool = False) -> None:
        super().__init__(reason)
        self.used, self.wait, self.busy = used, wait, busy


class Refused(Exception):
    """The server does not take the request as it is."""


class ServerSession:
    """An open connection to a server, for one job."""

    def __init__(self, server: "Server", client: "AsyncOpenAI", dialect: Dialect, account: Account) -> None:
        self._server, self._client, self._dialect, self._account = server, client, dialect, account
        self._health = Health(server.place)
        self._probes = Probes(dialect)

    async def complete(self, request: Request, trail: Trail) -> Completion:
        """The server's answer, after as many repetitions as it takes.

        Raises:
            Failed: no repetition helped, or none can.
            Spent: the budget does not allow another attempt.
            AccessDenied: the key is not accepted.
            ServerFailing: the server fails all the time.
        """
        repetition = 0
        while True:
            try:
                async with self._probes.turn(request.answer):
                    return await self._attempt(request, trail)
            except Hiccup as hiccup:
                await self._recover(hiccup, request, repetition)
            repetition += 1

    async def _recover(self, hiccup: Hiccup, request: Request, repetition: int) -> None:
        """Wait as long as the failure calls for, or give the request up."""
        too_long = hiccup.wait is not None and hiccup.wait > LONGEST_WAIT
        given_up = too_long or repetition == self._server.retries
        if given_up or not hiccup.busy:
            self._health.bad(str(hiccup))
        if given_up:
            raise Failed(f"{hiccup}; it asks to wait {hiccup.wait:.0f} s" if too_long else str(hiccup))
        await asyncio.sleep(pause(request.name, repetition, self._server.backoff, hiccup.wait))

    async def _attempt(self, request: Request, trail: Trail) -> Completion:
        """One answer, in the first format that the server takes."""
        server, form = self._server, request.answer
        index = self._dialect.first(form)
        while True:
            body = self._dialect.body(request, server.name, index, server.temperature, server.max_tokens)
            try:
                completion = await self._pay_and_send(body, request.most(server.max_tokens), trail)
            except Refused as refusal:
                index = self._other_way(request, index, str(refusal))
            else:
                self._dialect.learn(form, index)
                self._health.good()
                return completion

    def _other_way(self, request: Request, index: int, complaint: str) -> int:
        """The format to try after a refusal."""
        if self._dialect.rename_limit(complaint):
            return index
        other = self._dialect.next(request.answer, index, complaint)
        if other is None:
            raise Failed(complaint) from None
        return other

    async def _pay_and_send(self, body: dict[str, Any], most: Spending, trail: Trail) -> Completion:
        """One HTTP request: what it may cost is set aside before, what it did cost is booked after."""
        await self._account.reserve(most)
        used = most  # stands where nothing better is known: also where the job is interrupted meanwhile
        try:
            trail.attempts += 1
            trail.sent = self._server.endpoint.redact_all(body)
            completion = self._read(await self._post(body))
            used = completion.used(most)
            return completion
        except Hiccup as hiccup:
            used = hiccup.used or most
            raise
        except (Refused, Failed, AccessDenied):
            used = _ONE_CALL
            raise
        finally:
            self._account.settle(most, used)

    async def _post(self, body: dict[str, Any]) -> bytes:
        """What the server sends back, whatever it is, within the time limit."""
        from openai import APIConnectionError, APIStatusError, APITimeoutError

        create = cast("Any", self._client.chat.completions.with_raw_response.create)
        try:
            async with asyncio.timeout(self._server.timeout):  # the client's own starts anew with every byte
                return (await create(**body)).content
        except (TimeoutError, APITimeoutError):
            raise Hiccup(f"no answer from {self._server.place} in {self._server.timeout:g} s", None) from None
        except APIConnectionError as error:
            raise self._interrupted(error) from None
        except APIStatusError as error:
            raise self._declined(error) from None

    def _interrupted(self, error: "APIConnectionError") -> Hiccup:
        """The connection failed, before or after the request was sent."""
        cause = error.__cause__
        kind = type(cause).__name__
        reason = self._server.endpoint.redact(f"{kind}: {cause}".rstrip(": "))
        used = Spending() if kind in _NOT_REACHED else None
        return Hiccup(f"the connection to {self._server.place} failed ({reason})", used)

    def _declined(self, error: "APIStatusError") -> Exception:
        """What an HTTP status means for this request, or for the whole job."""
        status = error.status_code
        reason = f"{self._server.place} answers {status}: {self._complaint(error)}"
        if status in (401, 403) or error.code == "insufficient_quota":
            return AccessDenied(f"{reason}. {self._about_key()}")
        if status in _PASSING or status >= 500:
            return Hiccup(reason, _ONE_CALL, wait=wanted_pause(error.response.headers), busy=status == 429)
        if status in _OWN_FAULT:
            return Refused(reason)
        self._health.bad(reason)  # a wrong address or model name: so for all questions
        return Failed(reason)

    def _complaint(self, error: "APIStatusError") -> str:
        """The server's own words, without the key, on one line."""
        body = error.body
        told = cast("dict[str, Any]", body).get("message") if isinstance(body, dict) else None
        words = " ".join(str(told or error.response.text).split())
        return self._server.endpoint.redact(words)[:_LONGEST_COMPLAINT] or "nothing more"

    def _about_key(self) -> str:
        variable = self._server.endpoint.key_variable
        if variable is None:
            return "No key was sent, because no variable that holds one was named"
        return f"The key in the environment variable {variable} is not good for this; nothing more was asked"

    def _read(self, content: bytes) -> Completion:
        """The answer in a chat completion. Anything else, half of one included, is a failure that may pass."""
        try:
            body = json.loads(content)
            choice = body["choices"][0]
            message = choice["message"]
            text, refusal = message.get("content") or "", message.get("refusal") or ""
            redact = self._server.endpoint.redact
            return Completion(
                text=redact(_string(text)),
                finish=_string(choice.get("finish_reason") or "stop"),
                refusal=redact(_string(refusal)),
                prompt_tokens=_count(body, "prompt_tokens"),
                completion_tokens=_count(body, "completion_tokens"),
            )
        except (ValueError, LookupError, TypeError, AttributeError):
            shown = self._server.endpoint.redact(content[:60].decode(errors="replace"))
            raise Hiccup(f"{self._server.place} sent no whole answer: {shown!r}", None) from None


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not text")
    return value


def _count(body: Any, name: str) -> int | None:
    """A number of tokens, where the server says one that can be."""
    usage: dict[str, Any] = body.get("usage") or {}
    value = usage.get(name)
    return value if isinstance(value, int) and value >= 0 else None
