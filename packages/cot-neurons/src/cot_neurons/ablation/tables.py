"""The tables of `ablate`: what was intervened on, what came of it in each case, and what that amounts to."""

import pandera.polars as pa
import polars as pl
from runkit.tables import Table
from runkit.tables import columns as columns  # so that whoever names a schema here finds its columns beside it


class Conditions(Table):
    """One row per model that was run: the whole one, or with some neurons intervened on.

    `kind`: baseline, target (the concept's labelled neurons), random (as many per layer), matched (as many per layer,
    of like strength) or other (neurons of other concepts). `neurons`: as "L3N17".
    """

    condition: int = pa.Field(ge=0, unique=True)
    concept: str = pa.Field(nullable=True)
    kind: str = pa.Field(isin=["baseline", "target", "random", "matched", "other"])
    draw: int = pa.Field(ge=0)
    mode: str
    amount: float
    neurons: pl.List = pa.Field(dtype_kwargs={"inner": pl.String})


class Outcomes(Table):
    """One row per condition and case: a problem (`source` items or task) or a stretch of text; null: not measured.

    By operator: `gold_+` equations in the reference solution, `solved_+` of them written by the model and true,
    `written_+` equations it wrote, `true_+` of them true. With every token of the reference solution in its place:
    `logp_+` summed log-probability of its `forced_+` equations from operator to result, `logp_gold` of the stated
    answer, `logp_rest` of the `rest` other tokens, in nats; `odds_...`: log-odds of the same tokens, their mean for
    each equation (summed over equations) and for the answer, their sum for the rest.
    """

    condition: int = pa.Field(ge=0)
    source: str = pa.Field(isin=["items", "task", "text"])
    row: int = pa.Field(ge=0)
    text: str = pa.Field(nullable=True)
    correct_strict: bool = pa.Field(nullable=True)
    correct_flexible: bool = pa.Field(nullable=True)
    no_answer: bool = pa.Field(nullable=True)
    logp_gold: float = pa.Field(le=0, nullable=True)
    logp_rest: float = pa.Field(le=0, nullable=True)
    rest: int = pa.Field(ge=0, nullable=True)

    class Config(Table.Config):
        strict = False


class Effects(Table):
    """One row per condition and metric (`ablation.effects.METRICS`): its value, the whole model's, and the change.

    `n`: cases. `low`, `high`: the change's 95 % interval, by bootstrap over cases, paired. `mcnemar_p`: exact, where
    the metric is right or wrong.
    """

    condition: int = pa.Field(ge=0)
    concept: str = pa.Field(nullable=True)
    kind: str
    draw: int = pa.Field(ge=0)
    mode: str
    amount: float
    metric: str
    n: int = pa.Field(ge=0)
    value: float = pa.Field(nullable=True)
    baseline: float = pa.Field(nullable=True)
    change: float = pa.Field(nullable=True)
    low: float = pa.Field(nullable=True)
    high: float = pa.Field(nullable=True)
    mcnemar_p: float = pa.Field(nullable=True)


class Tests(Table):
    """One row per concept, amount, metric and kind of control: the target's change against the control draws'.

    `worse_than`: share of draws that hurt less than the target does (0.95: it hurts more than 95 % of them).
    """

    concept: str
    mode: str
    amount: float
    metric: str
    control: str
    draws: int = pa.Field(ge=0)
    change: float = pa.Field(nullable=True)
    control_mean: float = pa.Field(nullable=True)
    control_worst: float = pa.Field(nullable=True)
    worse_than: float = pa.Field(ge=0, le=1, nullable=True)
