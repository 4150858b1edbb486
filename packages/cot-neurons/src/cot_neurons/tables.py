"""The tables the stages write and read: columns, types and what must hold between them."""

from typing import Any

import pandera.polars as pa
import polars as pl
from pandera.api.polars.model_config import BaseConfig


class _Table(pa.DataFrameModel):
    class Config(BaseConfig):
        strict = True


class Prompts(_Table):
    """One row per prompt built: `text` is the prompt with `{question}` where the question goes."""

    variant: str = pa.Field(unique=True)
    shots: int = pa.Field(ge=0)
    seed: int = pa.Field(ge=0)
    text: str = pa.Field(str_contains=r"\{question\}")
    digest: str = pa.Field(str_matches=r"^[0-9a-f]{16}$")
    n_chars: int = pa.Field(gt=0)


class Lint(_Table):
    """One row per fault found in a prompt. `demo` counts from 1; 0 is the prompt as a whole."""

    file: str
    variant: str
    demo: int = pa.Field(ge=0)
    field: str
    what: str
    fix: str


class Items(_Table):
    """One row per question put to a model. Answers are null where the text gives none."""

    row: int = pa.Field(ge=0, unique=True)
    id: str = pa.Field(unique=True)
    question: str
    gold: str
    prompt_ids: pl.List = pa.Field(dtype_kwargs={"inner": pl.Int64})
    text: str
    new_tokens: int = pa.Field(ge=0)
    finish: str = pa.Field(isin=["eos", "stop", "length", "context"])
    strict: str = pa.Field(nullable=True)
    flexible: str = pa.Field(nullable=True)
    correct_strict: bool
    correct_flexible: bool
    no_answer: bool
    equations: int = pa.Field(ge=0)
    equations_true: int = pa.Field(ge=0)

    @pa.dataframe_check
    @classmethod
    def _true_among_all(cls, data: pa.PolarsData) -> pl.LazyFrame:
        return data.lazyframe.select(pl.col("equations_true") <= pl.col("equations"))

    @pa.dataframe_check
    @classmethod
    def _right_needs_an_answer(cls, data: pa.PolarsData) -> pl.LazyFrame:
        stated = pl.col("strict").is_not_null() | ~pl.col("correct_strict")
        return data.lazyframe.select(stated & (pl.col("flexible").is_not_null() | ~pl.col("correct_flexible")))


def columns(schema: type[pa.DataFrameModel]) -> dict[str, Any]:
    """Column names and polars types of a schema, for building a frame of it."""
    return {name: column.dtype.type for name, column in schema.to_schema().columns.items()}
