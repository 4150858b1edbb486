"""An endpoint over real HTTP: the key goes to the server and nowhere else; a refusal is not asked again unseen."""

import asyncio

import pytest
from llmkit.endpoint import Endpoint, MissingKeyError
from openai import AsyncOpenAI, InternalServerError

from tests.shared.llmkit.server import FaultyServer, always


async def ask(client: AsyncOpenAI) -> str | None:
    async with client:
        answer = await client.chat.completions.create(model="parrot", messages=[{"role": "user", "content": "hello?"}])
    return answer.choices[0].message.content


def test_a_question_reaches_the_server_with_model_and_key(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PARROT_KEY", "sk-planted")
    with FaultyServer(lambda body: "hello") as server:
        assert asyncio.run(ask(Endpoint(server.url, "parrot", "PARROT_KEY").client())) == "hello"
    assert (server.keys, [body["model"] for body in server.bodies]) == (["Bearer sk-planted"], ["parrot"])


def test_the_client_never_retries_by_itself():
    with FaultyServer(lambda body: "hello", plan=always("500")) as server:
        with pytest.raises(InternalServerError):
            asyncio.run(ask(Endpoint(server.url, "parrot", None).client(timeout=5)))
        assert server.calls == 1


def test_no_form_of_an_endpoint_shows_the_key(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PARROT_KEY", "sk-planted")
    endpoint = Endpoint("http://localhost/v1", "parrot", "PARROT_KEY")
    assert "sk-planted" not in f"{endpoint!r} {endpoint} {vars(endpoint)}"
    assert "PARROT_KEY" in repr(endpoint)


@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_key_names_the_variable_to_set(value: str | None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("PARROT_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("PARROT_KEY", value)
    with pytest.raises(
        MissingKeyError, match="no key for http://localhost/v1: set the environment variable PARROT_KEY"
    ):
        Endpoint("http://localhost/v1", "parrot", "PARROT_KEY").client()
