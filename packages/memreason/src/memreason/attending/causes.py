"""What edits of type tokens change, step by step against the same steps as they were."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float
from scipy import stats

from memreason import tables
from memreason.attending.causal import EDITS, NONE, OTHER
from memreason.trace import KINDS

_RESAMPLES = 2000


def table(rows: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Table `causes` of rows with item, step, kind, edit, logp and content (null: no checker).

    Intervals of the change: 95 %, percentile bootstrap over traces, since steps of one trace are not independent.
    """
    before = rows.filter(edit=NONE).select("item", "step", before="logp")
    paired = rows.join(before, on=["item", "step"], maintain_order="left").sort("item", "step")
    return pl.DataFrame(list(_rows(paired, seed)), schema=tables.columns(tables.Causes), orient="row")


def numbers(causes: pl.DataFrame) -> dict[str, float]:
    """Metrics: `change/EDIT/KIND`, and `flipped/EDIT/KIND` on toy worlds."""
    found: dict[str, float] = {}
    for row in causes.iter_rows(named=True):
        place = f"{row['edit']}/{row['kind']}"
        if row["edit"] != NONE:
            found[f"change/{place}"] = row["change"]
        if row["flipped"] is not None:
            found[f"flipped/{place}"] = row["flipped"]
    return found


def _rows(paired: pl.DataFrame, seed: int) -> Iterator[tuple[Any, ...]]:
    for edit in EDITS:
        for kind in KINDS:
            some = paired.filter(edit=edit, kind=kind)
            if some.is_empty():
                continue
            change = (some["logp"] - some["before"]).to_numpy()
            low, high = (None, None) if edit == NONE else _interval(some["item"].to_numpy(), change, seed)
            flipped = (some["content"] == OTHER[kind]).mean()
            yield edit, kind, len(some), some["logp"].mean(), change.mean(), low, high, flipped


def _interval(items: np.ndarray, change: Float[np.ndarray, " n"], seed: int) -> tuple[float | None, float | None]:
    _, place = np.unique(items, return_inverse=True)
    sums, counts = np.bincount(place, change), np.bincount(place).astype(float)
    if len(sums) < 2:
        return None, None
    found = stats.bootstrap(
        (sums, counts),
        lambda x, n, axis: x.sum(axis=axis) / n.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=_RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)
