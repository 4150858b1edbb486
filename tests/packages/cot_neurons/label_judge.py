"""A judge that answers over HTTP, and how what it truly said compares with the tables."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cot_neurons.options import LabelOptions

from tests.packages.cot_neurons import label_subjects as subjects

_HEADS = {tuple(word.strip() for word in plant.promotes): concept for concept, plant in subjects.PLANTED.items()}


def tokens(body: dict[str, Any]) -> list[str]:
    """The tokens that a request shows."""
    return json.loads(re.search(r"^\[.*\]$", body["messages"][1]["content"], re.M)[0])


def verdict(concepts: Iterable[str]) -> str:
    return json.dumps({"rationale": "as planted", "concepts": list(concepts), "confidence": 0.75})


def truthful(body: dict[str, Any]) -> str:
    """The planted concept where the first three tokens are a plant's, else none."""
    head = tuple(token.strip() for token in tokens(body)[:3])
    return verdict([_HEADS[head]] if head in _HEADS else [])


def options(folder: Path, model: Path, url: str, **more: Any) -> LabelOptions:
    """The options of a run that asks the server at `url`; tables are made beside `folder` where they are not there."""
    table, chains = folder / "neurons.parquet", folder / "items.parquet"
    if not table.exists():
        subjects.neurons(model, table)
        subjects.items(model, chains)
    given = {"judge": "parrot", "base_url": url, "key_variable": "none", "timeout": 2.0, "out": folder / "run"}
    return LabelOptions(model=str(model), neurons=str(table), items=str(chains), **{**given, **more})
