"""The tables the stages write and read: columns, types and what must hold between them."""

import pandera.polars as pa
from pandera.api.polars.model_config import BaseConfig


class _Table(pa.DataFrameModel):
    class Config(BaseConfig):
        strict = True


class Splits(_Table):
    """One row per file and type of a data folder."""

    file: str
    type: str
    rows: int = pa.Field(ge=0)


class Facts(_Table):
    """One row per atomic fact: `tail` is the answer to `head` and `relation` (an attribute's value, a property).

    split: "id", its inferences may be in training; "ood", they never are.
    """

    head: str
    relation: str
    tail: str
    split: str = pa.Field(isin=["id", "ood"])


class Curves(_Table):
    """One row per evaluation during training and type of row.

    accuracy: share of rows all of whose answer tokens are the most likely ones; nll: mean over rows of the sum of
    the answer tokens' -log p, in nats; epoch: passes over the training rows so far.
    """

    step: int = pa.Field(ge=0)
    epoch: float = pa.Field(ge=0)
    type: str
    n: int = pa.Field(gt=0)
    accuracy: float = pa.Field(ge=0, le=1)
    nll: float = pa.Field(ge=0)


class Losses(_Table):
    """One row per evaluation during training: means since the last one, and norms at that step."""

    step: int = pa.Field(ge=0)
    loss: float
    learning_rate: float = pa.Field(ge=0)
    gradient_norm: float = pa.Field(ge=0)
    weight_norm: float = pa.Field(ge=0)


class Events(_Table):
    """What happened when: "fitted" (training facts), "grokked_id", "grokked_ood" (unseen inferred facts).

    step: first evaluation that counts, null: never; id_accuracy, ood_accuracy: at that step; threshold: asked for.
    """

    event: str = pa.Field(isin=["fitted", "grokked_id", "grokked_ood"], unique=True)
    threshold: float = pa.Field(gt=0, le=1)
    step: int = pa.Field(ge=0, nullable=True)
    id_accuracy: float = pa.Field(ge=0, le=1, nullable=True)
    ood_accuracy: float = pa.Field(ge=0, le=1, nullable=True)
