"""Runs of `infer` that are compared: the same problems under different prompts."""

from collections.abc import Callable, Sequence

import polars as pl
from runkit.errors import UsageError
from runkit.options import flag

from cot_neurons import sources
from cot_neurons.subject import Subject

_PROBLEM = ["row", "question", "gold"]


def variants(named: Sequence[tuple[str, str]], subject: Subject, log: Callable[[str], None]) -> dict[str, pl.DataFrame]:
    """Prompt variant -> its items, in order; only rows that every run has, and what is left out is logged.

    `named`: the option that names a run, and the name. Raises UsageError for two runs of one variant, and for runs that
    answer different problems.
    """
    runs: dict[str, tuple[str, pl.DataFrame]] = {}
    for option, text in named:
        items, written = sources.items(text, subject, option), f"{flag(option)} {text}"
        name = str(items["variant"][0])
        if name in runs:
            raise UsageError(
                f"{written}: {runs[name][0]} is of prompt variant {name!r} too, so they could not be told apart: "
                "give one run per variant"
            )
        runs[name] = (written, items)
    rows = _common(list(runs.values()))
    if left := sum(len(items) - len(rows) for _, items in runs.values()):
        log(f"{len(rows)} items are in every run; {left} that are not, all runs together, are left out")
    return {name: items.join(rows, on="row", how="semi").sort("row") for name, (_, items) in runs.items()}


def _common(runs: Sequence[tuple[str, pl.DataFrame]]) -> pl.DataFrame:
    """The rows that are in every run. Raises UsageError where a row is another problem there."""
    first, items = runs[0]
    rows = items.select(_PROBLEM)
    for other, there in runs[1:]:
        both = rows.join(there.select(_PROBLEM), on="row", how="inner", suffix="_there")
        strangers = both.filter(
            (pl.col("question") != pl.col("question_there")) | (pl.col("gold") != pl.col("gold_there"))
        )
        if both.is_empty() or len(strangers):
            what = f"row {strangers['row'][0]} is another problem" if len(strangers) else "no row is in both"
            raise UsageError(f"{first} and {other} answer different data ({what}): run infer on the same for both")
        rows = both.select(_PROBLEM)
    return rows.select("row")
