"""Runs of `describe` and `score` made by hand, beside a run of exemplars made by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import runkit
from expgen import tables
from expgen.options import DescribeOptions, ScoreOptions
from runkit import Options

Row = dict[str, Any]


def described(folder: Path, exemplars: Path, say: Callable[[Row], list[Row]]) -> Path:
    """A finished run: `say` gives a feature's candidates (description, or status and reason)."""
    rows = [
        _key(row) | {"candidate": i, "explainer": "by hand", "status": "ok", "reason": None, "shown": [0]}
        | {"description": None} | each
        for row in _features(exemplars) for i, each in enumerate(say(row))
    ]  # fmt: skip
    options = DescribeOptions(exemplars=str(exemplars), out=folder)
    return _run("expgen.describe", options, folder, {"descriptions": (rows, tables.Descriptions)})


def scored(folder: Path, exemplars: Path, descriptions: Path, score: Callable[[Row], float | None]) -> Path:
    """A finished run: of every described feature candidate 0 is chosen, with this score; the look-up has 0.25."""
    told = pl.read_parquet(descriptions / "tables/descriptions.parquet").filter(status="ok", candidate=0)
    rows = [
        _key(row) | {"candidate": 0, "description": row["description"], "scorer": "simulation"} | _spread(score(row))
        for row in told.iter_rows(named=True)
    ]
    best = [row | {"chosen": row["value"], "null_other": 0.0, "null_empty": None, "null_lookup": 0.25} for row in rows]
    each = [row | {"kind": "candidate", "split": "test", "n": 9, "status": "ok", "reason": None} for row in rows]
    options = ScoreOptions(descriptions=str(descriptions), exemplars=str(exemplars), out=folder)
    made = {"scores": (each, tables.Scores), "best": (best, tables.Best)}
    return _run("expgen.score", options, folder, made)


def _spread(value: float | None) -> Row:
    low, high = (None, None) if value is None else (value - 0.1, value + 0.1)
    return {"value": value, "low": low, "high": high}


def _features(exemplars: Path) -> list[Row]:
    return pl.read_parquet(exemplars / "tables/features.parquet").to_dicts()


def _key(row: Row) -> Row:
    return {name: row[name] for name in tables.FEATURE_KEY}


def _run(stage: str, options: Options, folder: Path, made: dict[str, tuple[list[Row], Any]]) -> Path:
    with runkit.stage(stage, options) as run:
        for name, (rows, schema) in made.items():
            run.table(name, pl.DataFrame(rows, schema=tables.columns(schema)), schema)
    return folder
