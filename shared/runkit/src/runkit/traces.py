"""Calls of a language model on record: one line of the journal each, which MLflow shows as a trace of the run."""

import uuid
from base64 import b64encode
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

import orjson
import xxhash

from runkit.journal import Event

BATCH = 50  # traces sent before the replay notes how far it came
_PREVIEW = 1000  # characters that MLflow's list of traces shows


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

    uri: str
    experiment: str
    run_id: str

    def send(self, events: Sequence[Event]) -> None:
        """Raises whatever MLflow raises when it cannot be reached: its own tracing would only log that."""
        from mlflow.tracing.client import TracingClient

        client: Any = TracingClient(self.uri)
        for event in events:
            client.start_trace(self._info(event))
        with suppress(NotImplementedError):  # a store that keeps no spans has the previews all the same
            client.log_spans(self.experiment, [self._span(event) for event in events])

    def _id(self, event: Event) -> str:
        """The same whenever this event is sent to this run."""
        return xxhash.xxh3_128_hexdigest(f"{self.run_id}/{event['id']}".encode())

    def _info(self, event: Event) -> Any:
        from mlflow.entities import TraceInfo, TraceLocation, TraceState

        return TraceInfo(
            trace_id=f"tr-{self._id(event)}",
            trace_location=TraceLocation.from_experiment_id(self.experiment),
            request_time=event["start_ns"] // 10**6,
            execution_duration=(event["end_ns"] - event["start_ns"]) // 10**6,
            state=TraceState.ERROR if event["error"] else TraceState.OK,
            request_preview=_dump(event["inputs"])[:_PREVIEW],
            response_preview=_dump(event["outputs"])[:_PREVIEW],
            trace_metadata={"mlflow.sourceRun": self.run_id} | _usage(event, "mlflow.trace.tokenUsage"),
            tags={"mlflow.traceName": event["name"]},
        )

    def _span(self, event: Event) -> Any:
        from mlflow.entities import Span

        own = self._id(event)
        attributes = {
            "mlflow.traceRequestId": f"tr-{own}",
            "mlflow.spanType": "CHAT_MODEL",
            "mlflow.spanInputs": event["inputs"],
            "mlflow.spanOutputs": event["outputs"],
        }
        return Span.from_dict(
            {
                "trace_id": _base64(own),
                "span_id": _base64(own[:16]),
                "parent_span_id": None,
                "name": event["name"],
                "start_time_unix_nano": event["start_ns"],
                "end_time_unix_nano": event["end_ns"],
                "status": {"code": "ERROR" if event["error"] else "OK", "message": event["error"]},
                "attributes": {name: _dump(value) for name, value in (event["attributes"] | attributes).items()}
                | _usage(event, "mlflow.chat.tokenUsage"),
            }
        )


def _usage(event: Event, name: str) -> dict[str, str]:
    if event["tokens"] is None:
        return {}
    prompt, answer = event["tokens"]
    return {name: _dump({"input_tokens": prompt, "output_tokens": answer, "total_tokens": prompt + answer})}


def _base64(digits: str) -> str:
    """Hexadecimal digits as MLflow's spans are stored."""
    return b64encode(bytes.fromhex(digits)).decode()


def _dump(value: Any) -> str:
    return orjson.dumps(value).decode()
