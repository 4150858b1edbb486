"""The judge without a language model: the token lists alone decide, by score and by false discovery rate."""

import polars as pl
from runkit.tables import NEURON_KEY

from cot_neurons import tables
from cot_neurons.portraits import said

NAME = "rules"


def given(scores: pl.DataFrame, min_score: float, alpha: float) -> pl.DataFrame:
    """The rows of `scores` in which the rules see the concept."""
    return scores.filter((pl.col("score") >= min_score) & (pl.col("q") <= alpha))


def verdicts(scores: pl.DataFrame, candidates: pl.DataFrame, min_score: float, alpha: float) -> pl.DataFrame:
    """The table `verdicts` of this judge, one row per candidate."""
    seen = given(scores.filter(~pl.col("decoy")), min_score, alpha).sort("score", descending=True, maintain_order=True)
    spoken = seen.with_columns(why=pl.struct("concept", "matched", "ranks").map_elements(_why, pl.String))
    judged = spoken.group_by(NEURON_KEY, maintain_order=True).agg(concepts="concept", rationale=pl.col("why"))
    said_all = "token lists alone: " + pl.col("rationale").list.join("; ")
    return candidates.join(judged, on=NEURON_KEY, how="left", maintain_order="left").select(
        *NEURON_KEY,
        judge=pl.lit(NAME),
        status=pl.when(pl.col("concepts").is_null()).then(pl.lit("none")).otherwise(pl.lit("labelled")),
        concepts=pl.col("concepts").fill_null([]),
        confidence=pl.lit(None, pl.Float64),
        rationale=said_all.fill_null(
            f"token lists alone: no concept with a score of {min_score:g} and a false discovery rate of {alpha:g}"
        ),
    )


def _why(row: dict[str, list[str]]) -> str:
    ranks = ", ".join(map(str, row["ranks"]))
    return (
        f"{row['concept']}: {said(row['matched'], len(row['matched']))} at rank{'s' * (len(row['ranks']) > 1)} {ranks}"
    )
