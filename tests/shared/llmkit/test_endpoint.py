"""An endpoint over real HTTP: the key goes to the server and nowhere else; a refusal is not asked again unseen."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from llmkit.endpoint import Endpoint, MissingKeyError
from openai import AsyncOpenAI, InternalServerError

ANSWER = {
    "id": "x",
    "object": "chat.completion",
    "created": 0,
    "model": "parrot",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}}],
}


class Parrot(BaseHTTPRequestHandler):
    """Answers a chat request, or 500 while `broken`; keeps what it was asked."""

    asked: list[dict[str, Any]]
    broken: bool

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).asked.append({"path": self.path, "key": self.headers["Authorization"], "model": body["model"]})
        content = json.dumps(ANSWER).encode()
        self.send_response(500 if type(self).broken else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def parrot() -> Iterator[tuple[str, type[Parrot]]]:
    handler = type("FreshParrot", (Parrot,), {"asked": [], "broken": False})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1", handler
    server.shutdown()
    server.server_close()


async def ask(client: AsyncOpenAI) -> str | None:
    async with client:
        answer = await client.chat.completions.create(model="parrot", messages=[{"role": "user", "content": "hello?"}])
    return answer.choices[0].message.content


def test_a_question_reaches_the_server_with_model_and_key(
    parrot: tuple[str, type[Parrot]], monkeypatch: pytest.MonkeyPatch
):
    url, handler = parrot
    monkeypatch.setenv("PARROT_KEY", "sk-planted")
    assert asyncio.run(ask(Endpoint(url, "parrot", "PARROT_KEY").client())) == "hello"
    assert handler.asked == [{"path": "/v1/chat/completions", "key": "Bearer sk-planted", "model": "parrot"}]


def test_the_client_never_retries_by_itself(parrot: tuple[str, type[Parrot]]):
    url, handler = parrot
    handler.broken = True
    with pytest.raises(InternalServerError):
        asyncio.run(ask(Endpoint(url, "parrot", None).client(timeout=5)))
    assert len(handler.asked) == 1


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
