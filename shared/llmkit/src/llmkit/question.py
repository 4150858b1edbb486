"""What is asked and what comes back."""

import json
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypedDict, cast

from pydantic import BaseModel, RootModel

from llmkit.errors import UsageError

Status = Literal["ok", "invalid", "error"]


class Message(TypedDict):
    """One message of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Question:
    """One question, and the form its answer must have.

    Attributes:
        key: the asker's name for it; with `sample`, unique within a job. The server never sees it.
        messages: the chat so far, oldest first, at least one.
        answer: pydantic model of the JSON object wanted; its field descriptions reach the model.
        sample: counts repeated askings of the same question; each is kept in the cache on its own.

    Raises:
        UsageError: no messages, or an answer that is no JSON object.
    """

    key: str
    messages: tuple[Message, ...]
    answer: type[BaseModel]
    sample: int = 0

    def __post_init__(self) -> None:
        if not self.messages:
            raise UsageError(f"question {self.key!r} has no messages")
        if issubclass(self.answer, cast("type[BaseModel]", RootModel)):
            raise UsageError(f"question {self.key!r}: {self.answer.__name__} is a root model; answers are JSON objects")

    @property
    def schema(self) -> str:
        """The answer's JSON schema, as text that is the same for the same model."""
        return _schema(self.answer)


@dataclass(frozen=True)
class Reply:
    """What came of a question.

    Attributes:
        key, sample: the question's.
        status: `ok`: `value` holds the answer; `invalid`: the model answered, twice, but not in the form asked for;
            `error`: there is no answer, because asking failed. Neither of the last two says anything about the answer.
        value: the validated answer where `ok`, else None.
        text: what the model wrote last, as it came; empty where it wrote nothing.
        error: what was wrong, where not `ok`.
        attempts: requests sent for it in this job, repetitions and the second asking included; 0 if cached.
        prompt_tokens, completion_tokens: as the server counted them, over all its answers to this question, cached
            ones included; 0 where it did not say.
        cached: no request was needed.
    """

    key: str
    sample: int
    status: Status
    value: BaseModel | None
    text: str
    error: str
    attempts: int
    prompt_tokens: int
    completion_tokens: int
    cached: bool


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@cache
def _schema(answer: type[BaseModel]) -> str:
    return canonical(answer.model_json_schema())
