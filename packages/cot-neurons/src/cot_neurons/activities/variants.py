"""The runs that `activity` compares: the same problems under different prompts."""

from collections.abc import Sequence

import polars as pl
from runkit.errors import UsageError

from cot_neurons import sources
from cot_neurons.subject import Subject


def variants(texts: Sequence[str], limit: int | None, subject: Subject) -> dict[str, pl.DataFrame]:
    """Prompt variant -> its items, the same rows for each, the first `limit` of those that all runs have.

    Raises UsageError for two runs of one variant, and for runs that answer different problems.
    """
    runs: dict[str, tuple[str, pl.DataFrame]] = {}
    for text in texts:
        items = sources.items(text, subject)
        name = str(items["variant"][0])
        if name in runs:
            raise UsageError(
                f"--items {text}: {runs[name][0]} is of prompt variant {name!r} too, so they could not be told apart: "
                "give one run per variant"
            )
        runs[name] = (text, items)
    rows = _common(list(runs.values())).slice(0, limit)
    return {name: items.join(rows, on="row", how="semi").sort("row") for name, (_, items) in runs.items()}


def _common(runs: Sequence[tuple[str, pl.DataFrame]]) -> pl.DataFrame:
    """The rows that are in every run. Raises UsageError where a row is another problem there."""
    first, items = runs[0]
    rows = items.select("row", "question", "gold").sort("row")
    for text, others in runs[1:]:
        both = rows.join(others.select("row", "question", "gold"), on="row", how="inner", suffix="_there")
        different = (pl.col("question") != pl.col("question_there")) | (pl.col("gold") != pl.col("gold_there"))
        strangers = both.filter(different)
        if both.is_empty() or len(strangers):
            what = f"row {strangers['row'][0]} is another problem" if len(strangers) else "no row is in both"
            raise UsageError(
                f"--items {first},{text}: these runs answer different data ({what}): run infer on the same"
            )
        rows = both.select("row", "question", "gold")
    return rows.select("row")
