"""The stage behind `toy count`: pieces, a curve, a table, a figure-like artifact."""

import sys
import time

import pandera.polars as pa
import polars as pl
import runkit
from runkit import files
from runkit.errors import DataError
from toy_cli import CountOptions


class Counted(pa.DataFrameModel):
    number: int = pa.Field(ge=0)
    third: float
    word: str


class HintedError(ValueError):
    hint = "look elsewhere"


def count(options: CountOptions) -> None:
    with runkit.stage("toy.count", options) as run:
        print("open", flush=True)
        if run.finished:
            return
        _fail(options.fail)
        parts = run.parts("counted")
        for number, _ in parts.missing((number, None) for number in range(options.pieces)):
            time.sleep(options.nap)
            row = {"number": [number], "third": [number / 3], "word": [f"word {number % 7}"]}
            run.metrics({"loss": 1 / (number + 1)}, step=number)
            parts.write(number, pl.DataFrame(row))
        table = parts.collect()
        run.table("counted", table, Counted)
        files.write_bytes(run.folder / "report.html", b"<p>done</p>")
        run.artifact("report.html")
        run.metrics({"total": table["third"].sum()})
        print("worked", file=sys.stderr, flush=True)


def _fail(how: str) -> None:
    if how == "data":
        raise DataError("items.jsonl: row 3 is bad")
    if how == "bug":
        raise ZeroDivisionError("three by none")
    if how == "hint":
        raise HintedError("no layer 7; look elsewhere")
