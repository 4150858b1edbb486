"""A question on its way to a reply: asked, and, where the answer could not be used, asked once more."""

import hashlib
from typing import Any, NamedTuple

from pydantic import BaseModel

from llmkit.answer import Unusable, read
from llmkit.backend import Completion, Request, json_wanted
from llmkit.cache import Cache
from llmkit.question import Message, Question, Reply, Status, canonical

_ASKINGS = 2
_ECHO = 4000  # characters of an unusable answer that are shown to the model again


class Outcome(NamedTuple):
    """What is to be said of one answer."""

    status: Status
    error: str


class Talk:
    """One question, from its first request to its reply.

    Attributes:
        question: what is asked.
        turn: 0, or 1 once the first answer could not be used.
        request: what to send next.
        attempts: requests sent so far.
        reply: None until there is one.
    """

    def __init__(self, question: Question, identity: dict[str, Any]) -> None:
        self.question = question
        self.turn = 0
        self.attempts = 0
        self.reply: Reply | None = None
        self.request = self._request(question.messages)
        self._identity = identity
        self._prompt_tokens = self._completion_tokens = 0

    @property
    def key(self) -> str:
        """Of the request, in the cache: equal only where everything that decides the answer is equal."""
        request, question = self.request, self.question
        whole = [self._identity, request.messages, request.schema, question.sample, self.turn]
        return hashlib.sha256(canonical(whole).encode()).hexdigest()

    def recall(self, cache: Cache) -> Reply | None:
        """Go as far as the answers in the cache lead."""
        while self.reply is None and (known := cache.get(self.key)):
            self.hear(known)
        return self.reply

    def hear(self, completion: Completion, attempts: int = 0) -> Outcome:
        """Take in an answer that took so many attempts: it leads to the reply, or to a second asking."""
        self.attempts += attempts
        self._prompt_tokens += completion.prompt_tokens or 0
        self._completion_tokens += completion.completion_tokens or 0
        try:
            value = read(completion, self.question.answer)
        except Unusable as fault:
            self.turn += 1
            if self.turn == _ASKINGS:
                self._end("invalid", None, completion.text or completion.refusal, str(fault))
            else:
                self.request = self._request(_again(self.request, completion, str(fault)))
            return Outcome("invalid", str(fault))
        self._end("ok", value, completion.text, "")
        return Outcome("ok", "")

    def fail(self, reason: str, attempts: int) -> Outcome:
        """No answer is to be had."""
        self.attempts += attempts
        self._end("error", None, "", reason)
        return Outcome("error", reason)

    def _request(self, messages: tuple[Message, ...]) -> Request:
        question = self.question
        return Request(f"{question.key}/{question.sample}/{self.turn}", messages, question.answer, question.schema)

    def _end(self, status: Status, value: BaseModel | None, text: str, error: str) -> None:
        self.reply = Reply(
            key=self.question.key,
            sample=self.question.sample,
            status=status,
            value=value,
            text=text,
            error=error,
            attempts=self.attempts,
            prompt_tokens=self._prompt_tokens,
            completion_tokens=self._completion_tokens,
            cached=status != "error" and self.attempts == 0,
        )


def _again(request: Request, completion: Completion, fault: str) -> tuple[Message, ...]:
    """The messages that show the model its answer and say what is wrong with it."""
    said = (completion.text or completion.refusal)[:_ECHO] or "(no answer)"
    wanted = f"This answer cannot be used: {fault}. {json_wanted(request.schema)}"
    return (*request.messages, Message(role="assistant", content=said), Message(role="user", content=wanted))
