"""Single values out of frames."""

import polars as pl


def unique(frame: pl.DataFrame, column: str) -> list[str]:
    """A column's values, each once, in order of appearance."""
    return frame[column].drop_nulls().unique(maintain_order=True).to_list()


def value(frame: pl.DataFrame, column: str) -> float | None:
    """The first row's number; None where there is no row."""
    return number(frame[column][0]) if len(frame) else None


def mean(column: pl.Series) -> float | None:
    """A column's mean; None where there is nothing in it."""
    return number(column.mean())


def median(column: pl.Series) -> float | None:
    """A column's median; None where there is nothing in it."""
    return number(column.median())


def number(found: object) -> float | None:
    """A number as a float, else None."""
    return float(found) if isinstance(found, int | float) else None
