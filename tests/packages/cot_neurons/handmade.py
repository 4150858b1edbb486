"""Finished runs whose tables are written by hand, so that what is made of them can be worked out by hand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
from cot_neurons import tables
from runkit.manifest import Entry, Manifest
from runkit.tables import Schema, check, write

KEPT = ("row", "step", "tag", "layer", "rank", "neuron", "activation", "score")


def frame(rows: Sequence[dict[str, Any]], schema: Schema) -> pl.DataFrame:
    """Rows as a frame that satisfies the schema."""
    return check(pl.DataFrame(list(rows), schema=tables.columns(schema)), schema, schema.__name__)


def run(folder: Path, stage: str, **made: pl.DataFrame) -> Path:
    """A finished run of `stage` that holds these tables."""
    for name, table in made.items():
        write(folder / "tables" / f"{name}.parquet", table)
    files = {f"tables/{name}.parquet": Entry.of(folder / "tables" / f"{name}.parquet") for name in made}
    Manifest(stage, "by hand", "by hand", files).write(folder)
    return folder


def discovered(
    folder: Path, told: Sequence[tuple[int, str, str]], kept: Sequence[tuple[int, int, int, int, float]]
) -> Path:
    """A run of `discover`: steps as (row, token, tag), activations as (row, step, layer, neuron, score)."""
    steps, count = [], {}
    for row, token, tag in told:
        step = count[row] = count.get(row, -1) + 1
        steps.append({"row": row, "step": step, "token_id": step, "token": token, "tag": tag})
    tags = {(each["row"], each["step"]): each["tag"] for each in steps}
    ranks: dict[tuple[int, int, int, bool], int] = {}
    activations = []
    for row, step, layer, neuron, score in sorted(kept, key=lambda each: -abs(each[4])):
        place = (row, step, layer, score > 0)
        ranks[place] = ranks.get(place, -1) + 1
        activations.append(
            dict(zip(KEPT, (row, step, tags[row, step], layer, ranks[place], neuron, score, score), strict=True))
        )
    neurons = [
        {"model": "toy", "layer": layer, "neuron": neuron, "polarity": sign, "hits": 1, "hit_rate": 0.5,
         "mean_score": 1.0, "max_score": 1.0, "focus": "text", "contrast": 0.0, "promotes_ids": [1], "promotes": ["a"],
         "promotes_scores": [1.0], "suppresses": ["b"]}
        for layer, neuron, sign in sorted({(place[2], place[3], "+" if place[4] > 0 else "-") for place in kept})
    ]  # fmt: skip
    return run(
        folder,
        "cot-neurons.discover",
        steps=frame(steps, tables.Steps),
        activations=frame(activations, tables.Activations),
        neurons=frame(neurons, tables.Neurons),
    )
