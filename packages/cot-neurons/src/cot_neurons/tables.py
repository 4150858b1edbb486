"""The tables the stages write and read: columns, types and what must hold between them."""

from typing import Any

import pandera.polars as pa
import polars as pl
from pandera.api.polars.model_config import BaseConfig
from runkit.tables import NeuronKey

from cot_neurons.tags import KINDS, TAGS


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

    model: str = pa.Field(str_length={"min_value": 1})
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


class Steps(_Table):
    """One row per decoding step of each watched item: the token it wrote, and what kind of token that is."""

    row: pl.Int32 = pa.Field(ge=0)
    step: pl.Int32 = pa.Field(ge=0)
    token_id: pl.Int32 = pa.Field(ge=0)
    token: str
    tag: str = pa.Field(isin=TAGS)


class Activations(_Table):
    """One row per item, decoding step, layer and rank: the neurons that were strongest when a token was written.

    `activation` is m, `score` m·‖v‖, both signed; `rank` counts from 0, with signed ranking within each sign.
    """

    row: pl.Int32 = pa.Field(ge=0)
    step: pl.Int32 = pa.Field(ge=0)
    tag: str = pa.Field(isin=TAGS)
    layer: pl.Int16 = pa.Field(ge=0)
    rank: pl.Int16 = pa.Field(ge=0)
    neuron: pl.Int32 = pa.Field(ge=0)
    activation: pl.Float32
    score: pl.Float32


class Neurons(NeuronKey):
    """One row per neuron and sign that was ever among the strongest.

    `hits`: steps at which it was kept, `hit_rate` their share; `mean_score` over those steps, `max_score`: |m|·‖v‖.
    `mean_KIND`: mean score over all steps of that kind, 0 where it was not kept. `focus`: the kind whose mean exceeds
    that of all other steps most, `contrast` by how much. `promotes`, `suppresses`: vocabulary spellings, strongest
    first, of what it writes when it fires with this sign; `promotes_scores` are those of the value vector itself.
    """

    hits: int = pa.Field(gt=0)
    hit_rate: float = pa.Field(gt=0, le=1)
    mean_score: float = pa.Field(gt=0)
    max_score: pl.Float32 = pa.Field(gt=0)
    focus: str = pa.Field(isin=KINDS)
    contrast: float
    promotes_ids: pl.List = pa.Field(dtype_kwargs={"inner": pl.Int64})
    promotes: pl.List = pa.Field(dtype_kwargs={"inner": pl.String})
    promotes_scores: pl.List = pa.Field(dtype_kwargs={"inner": pl.Float32})
    suppresses: pl.List = pa.Field(dtype_kwargs={"inner": pl.String})

    class Config(BaseConfig):
        strict = False


def columns(schema: type[pa.DataFrameModel]) -> dict[str, Any]:
    """Column names and polars types of a schema, for building a frame of it."""
    return {name: column.dtype.type for name, column in schema.to_schema().columns.items()}
