"""Data that a run has read, as MLflow's datasets."""

from pathlib import Path
from typing import Any

import orjson

from runkit.journal import Event


def dataset(event: Event) -> Any:
    """What MLflow logs of an input: its name, where it came from, a digest; its context is the option that named it."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    option = event.get("option", event["name"])
    kind, source = _source(event["source"])
    found = Dataset(event["name"], event["digest"][:36], kind, orjson.dumps(source).decode())
    return DatasetInput(found, [InputTag("mlflow.data.context", option.partition(".")[0])])


def _source(text: str) -> tuple[str, dict[str, str]]:
    """Kind and fields as MLflow's own sources have them: a hub id, or a place on this machine."""
    path = Path(text)
    if text.startswith("specimen:"):
        return "reasonscope", {"uri": text}
    if path.exists():
        return "local", {"uri": str(path.absolute())}
    return "hugging_face", {"path": text.partition(":")[0]}
