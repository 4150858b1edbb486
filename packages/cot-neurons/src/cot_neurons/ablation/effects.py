"""From outcomes to effects: each condition against the whole model on the same cases, targets against controls."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Float

from cot_neurons import statistics
from cot_neurons.ablation import tables
from cot_neurons.ablation.cases import OPERATORS
from cot_neurons.ablation.interventions import Condition


class Metric(NamedTuple):
    """A ratio of two columns of `outcomes`, summed over the cases of one source (`below` "": per case)."""

    name: str
    source: str
    above: str
    below: str = ""
    worse: int = -1
    """Which way is worse: -1 where less is, 1 where more is."""
    exponent: float = 0
    """Where not 0, the ratio is told as exp(exponent · ratio)."""

    def value(
        self, values: Float[np.ndarray, "n 2 conditions"], weights: Float[np.ndarray, "draws n"]
    ) -> Float[np.ndarray, "draws conditions"]:
        """The metric of each condition."""
        share = statistics.ratio(values, weights)
        return np.exp(self.exponent * share) if self.exponent else share

    def change(
        self, values: Float[np.ndarray, "n 2 conditions"], weights: Float[np.ndarray, "draws n"]
    ) -> Float[np.ndarray, "draws conditions"]:
        """Each condition's metric less the whole model's."""
        value = self.value(values, weights)
        return value - value[:, :1]


METRICS = (
    Metric("strict", "items", "correct_strict"),
    Metric("flexible", "items", "correct_flexible"),
    Metric("no_answer", "items", "no_answer", worse=1),
    *(Metric(f"solved {sign}", "items", f"solved_{sign}", f"gold_{sign}") for sign in OPERATORS),
    *(Metric(f"true {sign}", "items", f"true_{sign}", f"written_{sign}") for sign in OPERATORS),
    *(Metric(f"logp {sign}", "items", f"logp_{sign}", f"forced_{sign}") for sign in OPERATORS),
    *(Metric(f"odds {sign}", "items", f"odds_{sign}", f"forced_{sign}") for sign in OPERATORS),
    Metric("logp answer", "items", "logp_gold"),
    Metric("odds answer", "items", "odds_gold"),
    Metric("logp rest", "items", "logp_rest", "rest"),
    Metric("odds rest", "items", "odds_rest", "rest"),
    Metric("task strict", "task", "correct_strict"),
    Metric("task flexible", "task", "correct_flexible"),
    Metric("task logp", "task", "logp_gold"),
    Metric("task odds", "task", "odds_gold"),
    Metric("text logp", "text", "logp_rest", "rest"),
    Metric("text odds", "text", "odds_rest", "rest"),
    Metric("perplexity", "text", "logp_rest", "rest", worse=1, exponent=-1),
)
"""What is measured. solved: share of the reference solution's equations that the model writes, true; true: share of the
equations it writes that hold; logp: nats per equation (operator to result), per answer, per token of the rest; odds:
mean log-odds of the same tokens, which still tell where a sure model is moved but not yet unsure; perplexity: of the
other text, exp of the mean negative log-probability of a token."""
WORSE = {metric.name: metric.worse for metric in METRICS}


def effects(outcomes: pl.DataFrame, conditions: Sequence[Condition], mode: str, seed: int) -> pl.DataFrame:
    """Table `effects`: one row per condition and metric that could be measured."""
    rows = [row for metric in METRICS for row in _effects(outcomes, conditions, metric, mode, seed)]
    return pl.DataFrame(rows, schema=tables.columns(tables.Effects))


def _effects(
    outcomes: pl.DataFrame, conditions: Sequence[Condition], metric: Metric, mode: str, seed: int
) -> Iterator[dict[str, object]]:
    values = _table(outcomes, metric, len(conditions))
    if values is None:
        return

    share, change = (statistics.estimate(values, each) for each in (metric.value, metric.change))
    low, high = statistics.intervals(values, metric.change, seed)
    binary = not metric.below and metric.above.startswith("correct")
    for i, condition in enumerate(conditions):
        p = statistics.mcnemar(values[:, 0, 0] > 0, values[:, 0, i] > 0) if binary and i else None
        yield {
            "condition": condition.number, "concept": condition.concept, "kind": condition.kind,
            "draw": condition.draw, "mode": mode, "amount": condition.amount, "metric": metric.name,
            "n": len(values), "value": _told(share[i]), "baseline": _told(share[0]),
            "change": _told(change[i]), "low": _told(low[i]), "high": _told(high[i]), "mcnemar_p": p,
        }  # fmt: skip


def _table(outcomes: pl.DataFrame, metric: Metric, conditions: int) -> Float[np.ndarray, "n 2 conditions"] | None:
    """Above and below of every case and condition; None where the outcomes hold nothing of the kind."""
    if metric.above not in outcomes.columns:
        return None
    below = pl.col(metric.below) if metric.below else pl.lit(1)
    there = pl.col(metric.above).is_not_null() & ((below > 0) | (pl.col("condition") > 0))
    found = outcomes.filter(source=metric.source).select(
        "row", "condition", pl.when(there).then(metric.above).cast(pl.Float64), below=below.cast(pl.Float64)
    )
    rows = found.filter(condition=0).drop_nulls(metric.above)["row"]
    wide = found.filter(pl.col("row").is_in(rows.implode())).sort("row", "condition")
    if wide.is_empty():
        return None
    shape = (len(rows), conditions)
    above, below = (wide[name].fill_null(0).to_numpy().reshape(shape) for name in (metric.above, "below"))
    return np.stack([above, below], axis=1)


def tests(effects: pl.DataFrame) -> pl.DataFrame:
    """Table `tests`: each target's change against those of its controls, metric by metric; none where none was run."""
    key = ["concept", "mode", "amount", "metric"]
    hurt = (pl.col("change") * pl.col("metric").replace_strict(WORSE, return_dtype=pl.Int64)).alias("hurt")
    told = effects.with_columns(hurt)
    target = told.filter(kind="target").select(*key, "change", target="hurt")
    drawn = told.filter(~pl.col("kind").is_in(["target", "baseline"])).join(target.drop("change"), on=key)
    control = drawn.group_by(*key, control="kind", maintain_order=True).agg(
        draws=pl.col("hurt").count().cast(pl.Int64),
        control_mean=pl.col("change").mean(),
        control_worst=pl.col("change").sort_by("hurt").last(),
        worse_than=(pl.col("hurt") < pl.col("target")).mean(),
    )
    return target.drop("target").join(control, on=key, maintain_order="left").select(
        *key, "control", "draws", "change", "control_mean", "control_worst", "worse_than"
    )  # fmt: skip


def _told(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def summary(effects: pl.DataFrame, tests: pl.DataFrame) -> dict[str, str]:
    """For each concept and amount what it hurts most, for the person at the terminal."""
    lines: dict[str, str] = {}
    shown = (("strict", 1), ("solved ", 1), ("odds ", 2))
    for concept, amount in effects.filter(kind="target").select("concept", "amount").unique(maintain_order=True).rows():
        of_it = tests.filter(concept=concept, amount=amount, control="random").drop_nulls("change").sort("change")
        most = [of_it.filter(pl.col("metric").str.starts_with(kind)).head(count) for kind, count in shown]
        lines[f"{concept} (x {amount:g})"] = "\n".join(_line(row) for row in pl.concat(most).iter_rows(named=True))
    return lines


def _line(row: dict[str, float]) -> str:
    control = f"random draws {row['control_mean']:+.2g}, worse than {row['worse_than']:.0%} of them"
    return f"{row['metric']}: {row['change']:+.2g} ({control})"
