"""What courses and onsets come to: medians over neurons, shares that had emerged at a moment, how alike strangers are.

Neurons that are silent in the finished model count nowhere. A polarity counts as a neuron.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

ONSETS = ("known_from", "fires_from", "writes_from")


def medians(course: pl.DataFrame) -> dict[str, float]:
    """Over the neurons of one checkpoint (tables.Course), by layer, and over strangers; those without are left out."""
    layers = course.group_by("layer", maintain_order=True).agg(pl.median("alike", "writes"))
    found: dict[str, float | None] = {
        f"{name}/layer_{layer:02d}": value
        for name in ("alike", "writes")
        for layer, value in layers.select("layer", name).rows()
    }
    strange = course.select(pl.median("strange_alike", "strange_writes")).row(0)
    found |= dict(zip(("alike/strangers", "writes/strangers"), strange, strict=True))
    return {name: value for name, value in found.items() if value is not None}


def emerged(table: pl.DataFrame, column: str, step: float) -> float:
    """Share of neurons that, from this step or an earlier one on, are what they will be (tables.Emergence)."""
    living = table.filter(pl.col("status") != "silent")
    return float((living[column].fill_null(np.inf) <= step).sum()) / max(1, len(living))


def results(table: pl.DataFrame, steps: Sequence[int], events: Mapping[str, int], threshold: float) -> dict[str, float]:
    """The metrics of a run. onsets are medians; a layer has none where most neurons never are."""
    living = table.filter(pl.col("status") != "silent")
    counts = dict(table["status"].value_counts().iter_rows())
    found = {"neurons": len(table) // 2, "living": len(living), "silent": counts.get("silent", 0)}
    found["never"] = counts.get("never", 0)
    moments = {"half": steps[-1] / 2, "before_last": steps[-2], **events}
    for column in ONSETS:
        name = column.removesuffix("_from")
        found |= {f"{name}_by/{moment}": emerged(table, column, step) for moment, step in moments.items()}
        for layer, each in living.group_by("layer", maintain_order=True):
            if np.isfinite(middle := _median(each[column])):
                found[f"{column}/layer_{layer[0]:02d}"] = middle
    if strange := living["stranger"].drop_nulls().to_list():
        found["strangers_alike"] = float(np.mean(np.array(strange) >= threshold))
        found["strangers_q99"] = float(np.quantile(strange, 0.99))
    return found


def told(table: pl.DataFrame, steps: Sequence[int], threshold: float) -> dict[str, object]:
    """For the person at the terminal."""
    living = table.filter(pl.col("status") != "silent")
    told: dict[str, object] = {"neurons, each polarity": f"{len(table):,}, {len(table) - len(living):,} of them silent"}
    said = ("more like itself than strangers", "fires as in the end", "writes as in the end")
    for column, name in zip(ONSETS, said, strict=True):
        by = {step: emerged(table, column, step) for step in _some(steps)}
        told[name] = ", ".join(f"{share:.0%} from {step:,}" for step, share in by.items())
    strange = np.array(living["stranger"].drop_nulls().to_list())
    if len(strange):
        told["strangers as alike"] = (
            f"{np.mean(strange >= threshold):.1%} (99 % below {np.quantile(strange, 0.99):.2f})"
        )
    return told


def _median(onsets: pl.Series) -> float:
    """Never is later than any step."""
    return float(np.median(onsets.cast(pl.Float64).fill_null(np.inf).to_numpy()))


def _some(steps: Sequence[int]) -> list[int]:
    """At most four steps, evenly spread, the first and the last but one among them."""
    before = steps[:-1]
    return [before[i] for i in sorted({round(x) for x in np.linspace(0, len(before) - 1, 4)})]
