"""Tables as Parquet, checked by a pandera schema on the way in and on the way out.

Rows are counted from 0 in messages, as in the frame.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import orjson
import pandera.polars as pa
import polars as pl
import pyarrow.parquet  # pyright: ignore[reportMissingTypeStubs]
from pandera.api.polars.model_config import BaseConfig
from pandera.errors import SchemaErrors

from runkit import files, manifest
from runkit.errors import DataError, UsageError, nearest

Schema = type[pa.DataFrameModel]
_SHOWN = 5
PREVIEW_ROWS = 200


class Table(pa.DataFrameModel):
    """Base of every schema: a table has the columns that are told, and no other."""

    class Config(BaseConfig):
        strict = True


class NeuronKey(Table):
    """The key on which everything said of a neuron joins: base of every table about neurons."""

    model: str = pa.Field(str_length={"min_value": 1})
    layer: int = pa.Field(ge=0)
    neuron: int = pa.Field(ge=0)
    polarity: str = pa.Field(isin=["+", "-"])


NEURON_KEY = ("model", "layer", "neuron", "polarity")
_CHECKED = set[tuple[Schema, str]]()
"""What files held that were found to be right in this process, by xxh3-128: stages after each other read the same."""


def check(frame: pl.DataFrame, schema: Schema, name: str) -> pl.DataFrame:
    """The frame, if it is what the schema says.

    Raises:
        DataError: names table, row, column, value and what was expected, for the first few faults.
    """
    try:
        with pl.Config(engine_affinity="in-memory"):  # pandera asks dozens of small questions: the other starts slowly
            return schema.validate(frame, lazy=True)
    except SchemaErrors as error:
        cases = cast("Any", error).failure_cases
        raise DataError(_explain(frame, cases.to_dicts(), name)) from None


def refuse_strangers(frame: pl.DataFrame, told: str, model: str, layers: int, neurons: int) -> None:
    """Nothing, where all rows are of neurons that a model has: so many layers of so many neurons.

    Args:
        told: what the frame is, for the message.
        model: its name.

    Raises:
        UsageError: names the first neuron that it does not have.
    """
    strangers = frame.filter((pl.col("layer") >= layers) | (pl.col("neuron") >= neurons))
    if len(strangers):
        layer, neuron = strangers.select("layer", "neuron").row(0)
        raise UsageError(
            f"{told}: neuron L{layer}N{neuron} is not in {model!r}, which has {layers} layers of {neurons} neurons: "
            "was the model changed since?"
        )


def columns(schema: Schema) -> dict[str, Any]:
    """Column names and polars types of a schema, for building a frame of it."""
    return {name: column.dtype.type for name, column in schema.to_schema().columns.items()}


def write(path: Path, frame: pl.DataFrame) -> None:
    """Write Parquet atomically; the same rows give the same bytes."""
    with files.atomic(path) as temporary:
        frame.rechunk().write_parquet(temporary, compression="zstd", statistics=True)


def write_pieces(path: Path, pieces: Iterable[pl.DataFrame]) -> None:
    """Write Parquet atomically from pieces of one schema, a row group each; the same pieces give the same bytes."""
    rest = iter(pieces)
    first = cast("Any", next(rest).to_arrow())
    open_writer: Any = pyarrow.parquet.ParquetWriter
    with files.atomic(path) as temporary, open_writer(temporary, first.schema, compression="zstd") as writer:
        writer.write_table(first)
        for piece in rest:
            writer.write_table(piece.to_arrow())


def remember(path: Path, schema: Schema) -> None:
    """This file holds a table that was checked before it was written: `read` need not do it again."""
    _CHECKED.add((schema, files.digest(path)))


def read(path: Path | str, schema: Schema) -> pl.DataFrame:
    """Read a table, checked against the manifest of the run that wrote it and against `schema`.

    Raises:
        UsageError: there is no such file; the nearest name is given.
        DataError: the run has not finished, the file is damaged, it is no Parquet, or its content breaks the schema.
    """
    path = Path(path)
    if not path.is_file():
        names = [each.name for each in path.parent.glob("*.parquet")] if path.parent.is_dir() else []
        raise UsageError(f"{path}: no such table; {nearest(path.name, names)}")
    digest = manifest.trust(path)
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}") from None
    if (schema, digest) not in _CHECKED:
        check(frame, schema, path.stem)
        if digest is not None:
            _CHECKED.add((schema, digest))
    return frame


def preview(frame: pl.DataFrame, rows: int = PREVIEW_ROWS) -> bytes:
    """The first rows in the JSON form that the MLflow UI shows as a table."""
    data = [list(row) for row in frame.head(rows).iter_rows()]
    return orjson.dumps({"columns": frame.columns, "data": data}, default=str)


def _explain(frame: pl.DataFrame, cases: list[dict[str, Any]], name: str) -> str:
    lines = [_fault(frame, case) for case in cases[:_SHOWN]]
    more = f"\n  and {len(cases) - _SHOWN} more" if len(cases) > _SHOWN else ""
    return f"table {name!r} is not what it should be:\n  " + "\n  ".join(lines) + more


def _fault(frame: pl.DataFrame, case: dict[str, Any]) -> str:
    column, value, rule = case.get("column"), case.get("failure_case"), case.get("check")
    if rule == "column_in_dataframe":
        return f"column {value!r} is missing; {nearest(str(value), frame.columns)}"
    if rule == "column_in_schema":
        return f"column {value!r} should not be there"
    if str(rule).startswith("dtype("):
        return f"column {column!r} has type {value}, expected {str(rule)[7:-2]}"
    row = case.get("index")
    where = f"row {row}, " if row is not None else ""
    if row is not None and column in frame.columns:
        value = frame[int(row), str(column)]  # pandera gives the value as text
    return f"{where}column {column!r}: {value!r}, expected {'a value' if rule == 'not_nullable' else rule}"
