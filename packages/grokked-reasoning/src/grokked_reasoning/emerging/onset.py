"""From the courses of neurons to the step from which each is what it will be."""

from collections.abc import Callable, Iterable

import numpy as np
import polars as pl
from jaxtyping import Int
from runkit.tables import NEURON_KEY, columns

from grokked_reasoning import tables

NEVER = -1
_STRANGERS = 0.99


def lasting(courses: Iterable[pl.DataFrame], reached: pl.Expr) -> Int[np.ndarray, " rows"]:
    """The first step from which something holds at every later one; NEVER where there is none. Null does not hold.

    `courses`: one table per checkpoint, in order, its rows always the same neurons (tables.Course).
    """
    since: np.ndarray | None = None
    for course in courses:
        holds = course.select(reached.fill_null(value=False)).to_series().to_numpy()
        before = np.full(len(course), NEVER) if since is None else since
        since = np.where(holds, np.where(before == NEVER, course["step"][0], before), NEVER)
    return np.empty(0, int) if since is None else since


def emergence(courses: Callable[[], Iterable[pl.DataFrame]], finished: pl.DataFrame, threshold: float) -> pl.DataFrame:
    """The table `emergence`. `courses`: as for `lasting`, read anew at each call, so that one is in memory at a time;
    finished: what is known of the finished model (`rows.portrait`)."""
    first, last = _ends(courses())
    made = last.select(*NEURON_KEY, last="alike", stranger="strange_alike")
    made = made.with_columns(finished["active"], first=first["alike"])
    onsets = {name: pl.Series(lasting(courses(), each)) for name, each in _reached(threshold).items()}
    made = made.with_columns(**{name: steps.replace({NEVER: None}) for name, steps in onsets.items()})
    # Of a neuron that is silent in the end, what it writes is all there is to compare.
    made = made.with_columns(pl.when(~finished["silent"]).then(pl.col("known_from", "fires_from")))
    found = pl.when(pl.col("fires_from").is_not_null()).then(pl.lit("found")).otherwise(pl.lit("never"))
    made = made.with_columns(status=pl.when(finished["silent"]).then(pl.lit("silent")).otherwise(found))
    return made.select(pl.col(name).cast(kind) for name, kind in columns(tables.Emergence).items())


def _reached(threshold: float) -> dict[str, pl.Expr]:
    """By onset, what has to hold from then on."""
    strangers = pl.col("strange_alike").quantile(_STRANGERS).over("layer", "polarity")
    return {
        "known_from": pl.col("alike") > strangers,
        "fires_from": pl.col("alike") >= threshold,
        "writes_from": pl.col("writes") >= threshold,
    }


def _ends(courses: Iterable[pl.DataFrame]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The first and the last."""
    first = last = None
    for each in courses:
        first, last = each if first is None else first, each
    assert first is not None
    assert last is not None
    return first, last
