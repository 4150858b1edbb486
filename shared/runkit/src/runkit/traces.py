"""Calls of a language model on record: one line of the journal each, which MLflow shows as a trace of the run."""

import logging
import uuid
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

import orjson
import xxhash

from runkit.journal import Event

BATCH = 50  # traces sent in one request; MLflow links at most 100 to a run at a time


class Call(TypedDict):
    """A call of a language model.

    Attributes:
        inputs: what was sent; a chat's `messages` are shown as such.
        outputs: what came back; a chat completion's `choices` are shown as such.
        start_ns, end_ns: nanoseconds since 1970.
        error: what went wrong; empty, or left out, where nothing did.
        tokens: of the prompt and of the answer, where known.
        attributes: anything else worth looking up.
    """

    inputs: dict[str, Any]
    outputs: dict[str, Any]
    start_ns: int
    end_ns: int
    error: NotRequired[str]
    tokens: NotRequired[tuple[int, int] | None]
    attributes: NotRequired[dict[str, Any]]


def entry(name: str, call: Call) -> dict[str, Any]:
    """What the journal holds of a call."""
    return {"id": uuid.uuid4().hex, "name": name, "error": "", "tokens": None, "attributes": {}, **call}


@dataclass(frozen=True)
class Sender:
    """Puts traces into a run of an MLflow store. What is sent again replaces itself."""

    client: Any
    uri: str
    experiment: str
    run_id: str

    def send(self, events: Sequence[Event]) -> None:
        """Raises whatever MLflow raises when it cannot be reached: its own tracing would only log that."""
        from mlflow.tracing.client import TracingClient

        client: Any = TracingClient(self.uri)
        try:
            client.log_spans(self.experiment, [self._span(event) for event in events])
        except NotImplementedError:  # files instead of a database, or a server older than 3.4
            logging.getLogger("runkit").warning("this MLflow store keeps no traces: they are in the journal only")
            return
        self.client.link_traces_to_run([f"tr-{self._id(event)}" for event in events], self.run_id)

    def _id(self, event: Event) -> str:
        """The same whenever this event is sent to this run."""
        return xxhash.xxh3_128_hexdigest(f"{self.run_id}/{event['id']}".encode())

    def _span(self, event: Event) -> Any:
        from mlflow.entities import Span

        own = self._id(event)
        attributes = {
            "mlflow.traceRequestId": f"tr-{own}",
            "mlflow.spanType": "CHAT_MODEL",
            "mlflow.spanInputs": event["inputs"],
            "mlflow.spanOutputs": event["outputs"],
            "mlflow.traceTag.mlflow.traceName": event["name"],
        }
        if event["tokens"] is not None:
            prompt, answer = event["tokens"]
            usage = {"input_tokens": prompt, "output_tokens": answer, "total_tokens": prompt + answer}
            attributes["mlflow.chat.tokenUsage"] = usage
        return Span.from_dict(
            {
                "trace_id": _base64(own),
                "span_id": _base64(own[:16]),
                "parent_span_id": None,
                "name": event["name"],
                "start_time_unix_nano": event["start_ns"],
                "end_time_unix_nano": event["end_ns"],
                "status": {"code": "ERROR" if event["error"] else "OK", "message": event["error"]},
                "attributes": {name: _dump(value) for name, value in (event["attributes"] | attributes).items()},
            }
        )


def _base64(digits: str) -> str:
    """Hexadecimal digits as MLflow's spans are stored."""
    return b64encode(bytes.fromhex(digits)).decode()


def _dump(value: Any) -> str:
    return orjson.dumps(value).decode()
