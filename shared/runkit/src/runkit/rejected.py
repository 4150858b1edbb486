"""The table of rows that were set aside."""

import pandera.polars as pa
import polars as pl

from runkit.rows import Rejected
from runkit.tables import Table


class RejectedRows(Table):
    """One row per rejected row: where it stands, the field at fault (empty: the whole row), why, and its text."""

    file: str
    row: int = pa.Field(ge=1)
    field: str
    reason: str
    raw: str


def as_table(place: str, rejected: list[Rejected]) -> pl.DataFrame:
    """The rejected rows of one file."""
    schema = {"row": pl.Int64, "field": pl.String, "reason": pl.String, "raw": pl.String}
    return pl.DataFrame(rejected, schema=schema, orient="row").select(pl.lit(place).alias("file"), pl.all())
