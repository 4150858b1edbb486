"""What the tests of llmkit ask, and what is right."""

import json
from typing import Any

from llmkit import Endpoint, Question, Server
from pydantic import BaseModel

from tests.shared.llmkit.server import Body, FaultyServer


class Capital(BaseModel):
    """The capital of a country."""

    city: str
    sure: bool


def questions(count: int, start: int = 0) -> list[Question]:
    return [question(f"q{number}") for number in range(start, start + count)]


def question(key: str, sample: int = 0, form: type[BaseModel] = Capital) -> Question:
    return Question(key, ({"role": "user", "content": f"What is the capital of {key}?"},), form, sample)


def right(body: Body) -> str:
    """A function of the question: an answer that has gone astray shows."""
    return json.dumps({"city": f"city of {asked_of(body)}", "sure": True})


def asked_of(body: Body) -> str:
    return str(body["messages"][0]["content"]).split("capital of ")[1].split("?")[0]


def value(key: str) -> Capital:
    return Capital(city=f"city of {key}", sure=True)


def backend(server: FaultyServer, **options: Any) -> Server:
    """Quick to repeat, so that tests are."""
    return Server(Endpoint(server.url, "parrot", None), **{"backoff": 0.002, "timeout": 10.0, **options})
