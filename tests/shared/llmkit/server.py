"""An OpenAI-compatible server on loopback that misbehaves on order, and counts what it was asked.

    with FaultyServer(lambda body: '{"city": "Rome"}', plan=seeded(0.3, FAULTS)) as server:
        ask(..., Server(Endpoint(server.url, "parrot", None)), ...)

A plan says, for a prompt and how often it has been asked already, which fault to commit; None means to answer well.
"""

import json
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Body = dict[str, Any]
Plan = Callable[[str, int], str | None]
PASSING = ("429", "500", "502", "503", "504", "reset", "hang", "half", "truncate", "html", "empty")  # worth repeating
UNUSABLE = ("malformed", "refuse", "filter", "length")  # answers, though not the ones wanted
FAULTS = (*PASSING, *UNUSABLE, "drip")


def seeded(rate: float, faults: Sequence[str], seed: int = 0) -> Plan:
    """Commit one of the faults in that share of the requests: for the same prompts always the same."""

    def plan(prompt: str, repetition: int) -> str | None:
        dice = random.Random(f"{seed}/{repetition}/{prompt}")
        return dice.choice(faults) if dice.random() < rate else None

    return plan


def always(fault: str) -> Plan:
    return lambda prompt, repetition: fault


def first(fault: str, times: int = 1) -> Plan:
    """Commit the fault the first so many times that a prompt is asked."""
    return lambda prompt, repetition: fault if repetition < times else None


def prompt_of(body: Body) -> str:
    """The whole chat as one text: a second asking is another prompt."""
    return "\n".join(message["content"] for message in body["messages"])


class FaultyServer:
    """The server; `with` starts and stops it.

    Attributes:
        url: its base URL.
        asked: how often each prompt was asked; answered: how often it was sent a whole answer (usable or not).
        bodies: every request as it came, in order; keys: what each carried as Authorization.
        most_at_once: requests that were under way at the same time, at most.
    """

    def __init__(
        self,
        answer: Callable[[Body], str],
        *,
        plan: Plan = lambda prompt, repetition: None,
        formats: Sequence[str] = ("json_schema", "json_object"),
        delay: float = 0.0,
        retry_after: Callable[[], dict[str, str]] = lambda: {"Retry-After": "0.01"},
        complaint: str = "nothing to see here",
        code: str | None = None,
        usage: Callable[[Body], dict[str, int] | None] = lambda body: {"prompt_tokens": 11, "completion_tokens": 7},
    ) -> None:
        self.answer, self.plan, self.formats, self.delay = answer, plan, formats, delay
        self.retry_after, self.complaint, self.code, self.usage = retry_after, complaint, code, usage
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.bodies: list[Body] = []
        self.keys: list[str | None] = []
        self.most_at_once = 0
        self.closing = threading.Event()
        self._now = 0
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"owner": self})
        self._http = _Quiet(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"

    @property
    def calls(self) -> int:
        return len(self.bodies)

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()

    def enter(self, body: Body, key: str | None) -> int:
        """Note a request; how often its prompt was asked before."""
        with self._lock:
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            self.bodies.append(body)
            self.keys.append(key)
            prompt = prompt_of(body)
            self.asked[prompt] += 1
            return self.asked[prompt] - 1

    def leave(self, body: Body, answered: bool) -> None:
        with self._lock:
            self._now -= 1
            self.answered[prompt_of(body)] += answered


class _Quiet(ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections that break are what this server is for."""


class _Handler(BaseHTTPRequestHandler):
    owner: FaultyServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        repetition = self.owner.enter(body, self.headers["Authorization"])
        answered = False
        try:
            time.sleep(self.owner.delay)
            answered = self._respond(body, self.owner.plan(prompt_of(body), repetition))
        finally:
            self.owner.leave(body, answered)

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _respond(self, body: Body, fault: str | None) -> bool:
        """Answer, or commit the fault; whether a whole answer was sent."""
        style = body.get("response_format", {}).get("type")
        if style and style not in self.owner.formats:
            return self._error(400, f"'response_format' of type '{style}' is not supported")
        if fault and fault.isdigit():
            return self._error(int(fault), self.owner.complaint)
        return getattr(self, f"_{fault or 'well'}")(body)

    def _completion(self, body: Body, **changes: Any) -> bytes:
        message = {"role": "assistant", "content": self.owner.answer(body), **changes.pop("message", {})}
        choice = {"index": 0, "finish_reason": "stop", "message": message, **changes}
        whole = {"id": "x", "object": "chat.completion", "created": 0, "model": body["model"], "choices": [choice]}
        return json.dumps({**whole, "usage": self.owner.usage(body)}).encode()

    def _send(
        self, content: bytes, status: int = 200, *, length: int | None = None, headers: dict[str, str] | None = None
    ) -> None:
        given = {"Content-Type": "application/json", "Content-Length": str(len(content) if length is None else length)}
        self.send_response(status)
        for name, value in (given | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def _error(self, status: int, message: str) -> bool:
        content = json.dumps({"error": {"message": message, "type": "planted", "code": self.owner.code}}).encode()
        self._send(content, status, headers=self.owner.retry_after() if status in (429, 503) else {})
        return False

    def _well(self, body: Body) -> bool:
        self._send(self._completion(body))
        return True

    def _drip(self, body: Body) -> bool:
        content = self._completion(body)
        self._send(b"", length=len(content))
        for byte in content:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            if self.owner.closing.wait(0.001):
                break
        return True

    def _reset(self, body: Body) -> bool:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True
        return False

    def _hang(self, body: Body) -> bool:
        self.owner.closing.wait(30)
        self.close_connection = True
        return False

    def _half(self, body: Body) -> bool:
        """The connection ends before the body does."""
        content = self._completion(body)
        self._send(content[: len(content) // 2], length=len(content))
        self.close_connection = True
        return False

    def _truncate(self, body: Body) -> bool:
        """A whole HTTP message that holds half of the JSON."""
        content = self._completion(body)
        self._send(content[: len(content) // 2])
        return False

    def _html(self, body: Body) -> bool:
        self._send(b"<html><body>Back soon</body></html>", headers={"Content-Type": "text/html"})
        return False

    def _empty(self, body: Body) -> bool:
        self._send(b'{"object": "chat.completion", "choices": []}')
        return False

    def _malformed(self, body: Body) -> bool:
        self._send(self._completion(body, message={"content": "Well, I would say yes"}))
        return True

    def _refuse(self, body: Body) -> bool:
        self._send(self._completion(body, message={"content": None, "refusal": "I cannot help with that"}))
        return True

    def _filter(self, body: Body) -> bool:
        self._send(self._completion(body, finish_reason="content_filter", message={"content": ""}))
        return True

    def _length(self, body: Body) -> bool:
        """Cut off, though what is there happens to be whole."""
        self._send(self._completion(body, finish_reason="length"))
        return True
