"""Tables this package writes."""

import pandera.polars as pa
from runkit.tables import Table


class Scores(Table):
    """How many problems of a group were solved, greedily and without demonstrations; `chain_accuracy` is the share."""

    axis: str
    group: str
    problems: int = pa.Field(ge=1)
    right_chains: int = pa.Field(ge=0)
    right_answers: int = pa.Field(ge=0)
    chain_accuracy: float = pa.Field(ge=0, le=1)
    answer_accuracy: float = pa.Field(ge=0, le=1)


class Losses(Table):
    """Mean training loss of the steps up to `step`."""

    step: int = pa.Field(ge=1)
    loss: float
