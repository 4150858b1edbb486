"""The judge without a language model: the token lists alone decide, by score and by false discovery rate."""

import polars as pl
from runkit.tables import NEURON_KEY

from cot_neurons.labels import controls
from cot_neurons.labels.case import Case
from cot_neurons.portraits import said

NAME = "rules"


class Rules:
    """Gives a concept where its score is at least `--min-score`, at a false discovery rate of `--alpha`."""

    name = NAME

    def verdicts(self, case: Case) -> pl.DataFrame:
        """The table `verdicts` of this judge: one row per candidate."""
        seen = self._given(case, case.scores.filter(~pl.col("decoy"))).sort("score", descending=True)
        spoken = seen.with_columns(why=pl.struct("concept", "matched", "ranks").map_elements(_why, pl.String))
        judged = spoken.group_by(NEURON_KEY).agg(concepts="concept", why=pl.col("why").str.join("; "))
        options = case.options
        nothing = f"no concept with score {options.min_score:g} at false discovery rate {options.alpha:g}"
        return case.candidates.join(judged, on=NEURON_KEY, how="left", maintain_order="left").select(
            *NEURON_KEY,
            judge=pl.lit(NAME),
            status=pl.when(pl.col("concepts").is_null()).then(pl.lit("none")).otherwise(pl.lit("labelled")),
            concepts=pl.col("concepts").fill_null([]),
            confidence=pl.lit(None, pl.Float64),
            rationale="token lists alone: " + pl.col("why").fill_null(nothing),
        )

    def controls(self, case: Case) -> pl.DataFrame:
        """How many of all neurons get a concept, get a decoy, and get a concept for shuffled tokens."""
        mixed = controls.shuffled(case.of, case.options.seed)
        rows = {
            "concepts": case.scores.filter(~pl.col("decoy")),
            "decoys": case.scores.filter("decoy"),
            "shuffled": case.scoring.table(case.keys, mixed, case.tokens),
        }
        counts = {name: self._given(case, scores).select(NEURON_KEY).n_unique() for name, scores in rows.items()}
        return controls.table(NAME, {name: (len(case.keys), count) for name, count in counts.items()})

    def _given(self, case: Case, scores: pl.DataFrame) -> pl.DataFrame:
        return scores.filter((pl.col("score") >= case.options.min_score) & (pl.col("q") <= case.options.alpha))


def _why(row: dict[str, list[str]]) -> str:
    """add: ' +' ' plus' at ranks 1, 3."""
    tokens, ranks = said(row["matched"], len(row["matched"])), ", ".join(map(str, row["ranks"]))
    return f"{row['concept']}: {tokens} at rank{'s' if len(row['ranks']) > 1 else ''} {ranks}"
