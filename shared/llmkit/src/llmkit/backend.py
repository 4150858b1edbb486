"""What `ask` needs of whoever answers: a server, or a model in this process."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import BaseModel

from llmkit.budget import Account, Spending
from llmkit.question import Message

_TOKENS_PER_MESSAGE = 16  # what chat templates put around one


@dataclass(frozen=True)
class Request:
    """One thing to be answered: a question's messages, or, at turn 1, these with the answer that could not be used.

    Attributes:
        name: question, sample and turn; seeds the jitter of repetitions.
        schema: of `answer`, as JSON.
    """

    name: str
    messages: tuple[Message, ...]
    answer: type[BaseModel]
    schema: str

    def most(self, max_tokens: int) -> Spending:
        """The most that one attempt can cost: no tokenizer makes more tokens than there are bytes."""
        written = sum(len(message["content"].encode()) + _TOKENS_PER_MESSAGE for message in self.messages)
        instruction = len(json_wanted(self.schema).encode())
        return Spending(1, written + instruction, max_tokens)


@dataclass(frozen=True)
class Completion:
    """What a model wrote.

    Attributes:
        text: as it came.
        finish: why it stopped: `stop`, `length`, `content_filter`, or whatever the server says.
        refusal: its words, where it declined in the way the API has for that.
        prompt_tokens, completion_tokens: as counted by who answered; None where not said.
    """

    text: str
    finish: str = "stop"
    refusal: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    def used(self, most: Spending) -> Spending:
        """What it cost; where nobody said, the most that it can have cost."""
        prompt = most.prompt if self.prompt_tokens is None else self.prompt_tokens
        completion = most.completion if self.completion_tokens is None else self.completion_tokens
        return Spending(1, prompt, completion)


@dataclass
class Trail:
    """What was sent for one request: filled in as it happens, so that failures leave one too."""

    attempts: int = 0
    sent: dict[str, Any] = field(default_factory=dict[str, Any])


class Failed(Exception):
    """This request gets no answer, however often it is sent; the others may."""


class Session(Protocol):
    """A backend that is open for questions."""

    async def complete(self, request: Request, trail: Trail) -> Completion:
        """The model's answer.

        Raises:
            Failed: there is none.
            Spent: the budget does not allow another attempt.
            LLMKitError: no question will get one.
        """
        ...


class Backend(Protocol):
    """Whoever answers."""

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides an answer besides messages and schema: part of the cache's key."""
        ...

    @property
    def place(self) -> str:
        """Where it is, for people: an address without passwords, a folder."""
        ...

    @property
    def name(self) -> str:
        """The model's name."""
        ...

    @property
    def max_tokens(self) -> int:
        """Most tokens of one answer."""
        ...

    @property
    def concurrency(self) -> int:
        """Requests worth having under way at the same time."""
        ...

    def open(self, account: Account) -> AbstractAsyncContextManager[Session]:
        """Ready to answer within what the account allows."""
        ...


def json_wanted(schema: str) -> str:
    """The instruction that goes with a question where nothing else tells the model the form of its answer."""
    return f"Answer with one JSON object and nothing else. It must match this JSON schema:\n{schema}"


def with_instruction(messages: tuple[Message, ...], text: str) -> tuple[Message, ...]:
    """`messages` with `text` at the end of the last one, unless it stands there already."""
    *before, last = messages
    if text in last["content"]:
        return messages
    return (*before, Message(role=last["role"], content=f"{last['content']}\n\n{text}"))
