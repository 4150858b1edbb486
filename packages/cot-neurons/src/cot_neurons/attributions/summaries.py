"""From each item's sums to means per step with intervals, and to contrasts of two groups of items."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Bool, Float

from cot_neurons import statistics, tables
from cot_neurons.attributions.shares import Poles
from cot_neurons.tags import KINDS

FEWEST = 5
"""Items that each group of a contrast must have for an interval: fewer, drawn again, hardly vary."""


@dataclass(frozen=True)
class Sheet:
    """What P poles did in n items of one run, by kind of token; `rows` are the items' numbers."""

    rows: list[int]
    steps: Float[np.ndarray, "n kinds"]
    logit: Float[np.ndarray, "n kinds P"]
    logp: Float[np.ndarray, "n kinds P"]

    @classmethod
    def of(cls, shares: pl.DataFrame, rows: list[int], poles: Poles) -> "Sheet":
        """From the pieces of the second pass; items without steps stand in it with 0."""
        number = {row: i for i, row in enumerate(rows)}
        at = np.array([number[row] for row in shares["row"]]), shares["kind"].to_numpy(), shares["place"].to_numpy()
        shape = (len(rows), len(KINDS), len(poles.table))
        steps, logit, logp = np.zeros(shape[:2]), np.zeros(shape), np.zeros(shape)
        steps[at[:2]] = shares["steps"].to_numpy()
        logit[at], logp[at] = shares["logit"].to_numpy(), shares["logp"].to_numpy()
        return cls(rows, steps, logit, logp)

    def sums(self, kind: int, items: Bool[np.ndarray, " n"], measure: str = "logit") -> Float[np.ndarray, "n 2 P"]:
        """Per item, sums and steps of one kind; 0 for items outside the group."""
        values = getattr(self, measure)[:, kind]
        both = np.stack([values, np.broadcast_to(self.steps[:, kind, None], values.shape)], axis=1)
        return both * items[:, None, None]

    def those(self, kind: int, items: Bool[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
        """Of these items the ones that have steps of that kind."""
        return items & (self.steps[:, kind] > 0)


Group = tuple[Sheet, Bool[np.ndarray, " n"]]
"""The sheet of a run, and which of its items are meant."""
Groups = Mapping[str, Group]


@dataclass(frozen=True)
class Contrast:
    """Group `one` less group `other`, at tokens of these kinds."""

    name: str
    one: str
    other: str
    kinds: Sequence[str]


def attributions(model: str, poles: Poles, groups: Groups, seed: int) -> pl.DataFrame:
    """Table `attributions`: means per step, with intervals over items."""
    found = [
        lines.select(pl.lit(model).alias("model"), pl.all(), pl.lit(group).alias("group"), pl.lit(kind).alias("kind"))
        for group, members in groups.items()
        for i, kind in enumerate(KINDS)
        if (lines := _means(poles, *members, i, seed)) is not None
    ]
    return pl.concat(found).select(*tables.columns(tables.Attributions))


def _means(poles: Poles, sheet: Sheet, items: Bool[np.ndarray, " n"], kind: int, seed: int) -> pl.DataFrame | None:
    """The poles' means per step of one kind of token; None where these items have no such step."""
    those = sheet.those(kind, items)
    if not those.any():
        return None
    columns: dict[str, pl.Series] = {}
    for measure in ("logit", "logp"):
        sums = sheet.sums(kind, those, measure)[those]
        ends = statistics.intervals(sums, statistics.ratio, seed)
        told = np.ones(len(poles.table), dtype=bool) if measure == "logit" else poles.kinds[:, kind]
        for name, values in zip(
            ("", "_low", "_high"), (statistics.estimate(sums, statistics.ratio), *ends), strict=True
        ):
            columns[measure + name] = _told(np.where(told, values, np.nan))
    return poles.table.with_columns(steps=pl.lit(int(sheet.steps[those, kind].sum()), pl.Int64), **columns)


def contrasts(model: str, poles: Poles, groups: Groups, asked: Iterable[Contrast], seed: int) -> pl.DataFrame:
    """Table `contrasts`: for the neurons chosen for a kind of token, their mean per step in one group less the other.

    Items are drawn once for both groups, so that an item answered twice counts as a pair.
    """
    found = [
        lines.select(
            pl.lit(model).alias("model"), pl.all(), pl.lit(contrast.name).alias("contrast"), pl.lit(kind).alias("kind")
        )
        for contrast in asked
        for i, kind in enumerate(KINDS)
        if kind in contrast.kinds
        and (lines := _differences(poles, groups[contrast.one], groups[contrast.other], i, seed)) is not None
    ]
    schema = tables.columns(tables.Contrasts)
    return pl.concat(found).select(*schema) if found else pl.DataFrame(schema=schema)


def _differences(poles: Poles, one: Group, other: Group, kind: int, seed: int) -> pl.DataFrame | None:
    """None where a group has no such steps."""
    (here, there), chosen = (sheet.those(kind, items) for sheet, items in (one, other)), poles.kinds[:, kind]
    if not (here.any() and there.any() and chosen.any()):
        return None
    pairs = np.stack([one[0].sums(kind, here), other[0].sums(kind, there)], axis=1)[here | there][..., chosen]
    low, high = statistics.intervals(pairs, _difference, seed)
    fewest = int(min(here.sum(), there.sum()))
    ends = (
        {"low": low, "high": high}
        if fewest >= FEWEST
        else {side: np.full_like(low, np.nan) for side in ("low", "high")}
    )
    return poles.table.filter(pl.Series(chosen)).with_columns(
        difference=pl.Series(statistics.estimate(pairs, _difference)),
        items=pl.lit(fewest, pl.Int64),
        **{side: _told(values) for side, values in ends.items()},
    )


def _difference(pairs: Float[np.ndarray, "n 2 2 P"], weights: Float[np.ndarray, "draws n"]) -> np.ndarray:
    return statistics.ratio(pairs[:, 0], weights) - statistics.ratio(pairs[:, 1], weights)


def _told(values: Float[np.ndarray, " P"]) -> pl.Series:
    return pl.Series(values).fill_nan(None)
