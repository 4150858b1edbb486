"""What `attribute` draws, and says at its end: numbers that also stand in its tables."""

from typing import Any

import actkit
import numpy as np
import polars as pl
from matplotlib.figure import Figure

from cot_neurons.attributions.shares import KEY
from cot_neurons.portraits import name, said
from cot_neurons.tags import KINDS

_SHOWN = 6
_COLUMNS = 2
_LOGIT, _NATS = "#4c78a8", "#b26a00"


def promoted(model: actkit.Model, poles: pl.DataFrame) -> pl.DataFrame:
    """`poles` (layer, neuron, polarity) with `label`: its name and the two tokens it promotes when it fires so."""
    pairs = poles.select("layer", "neuron").unique(maintain_order=True).iter_rows()
    tokens = actkit.promoted_tokens(model, pairs, k=min(2, model.dims.vocab))
    lists = tokens.group_by("layer", "neuron", polarity="pole", maintain_order=True).agg("token")
    told = poles.join(lists, on=KEY, how="left", maintain_order="left")
    labels = [f"{said(row['token'], 2)}  {name(row)}" for row in told.iter_rows(named=True)]
    return poles.with_columns(label=pl.Series(labels, dtype=pl.String))


def by_kind(attributions: pl.DataFrame, promoted: pl.DataFrame) -> Figure:
    """For each kind of token, the neurons that did most for it, by logit and by log-probability."""
    best = _best(attributions).join(promoted, on=KEY, how="left", maintain_order="left")
    kinds = [kind for kind in KINDS if kind in best["kind"].to_list()]
    figure, panels = _panels(len(kinds), 4.9, 0.5 + 0.32 * _SHOWN)
    for axes, kind in zip(panels, kinds, strict=True):
        some = best.filter(kind=kind).reverse()
        _points(axes, some, "logit", "logit_low", "logit_high")
        _finish(axes, some["label"].to_list(), f"{kind} ({some['steps'][0]:,} tokens)")
        right = axes.secondary_yaxis("right")
        right.set_yticks(range(len(some)), [f"{value:+.2f}" for value in some["logp"]], fontsize=8, color=_NATS)
        right.tick_params(length=0)
        right.spines["right"].set_visible(False)
    figure.suptitle("what a neuron added to the logit of the token written, mean and 95 % interval", fontsize=10)
    figure.supxlabel("on the right: what it added to the token's log-probability, nats", fontsize=9, color=_NATS)
    return figure


def contrasts(contrasts: pl.DataFrame, promoted: pl.DataFrame) -> Figure:
    """For each contrast and kind of token, the neurons whose mean attribution differs most.

    Only lines with an interval: with fewer items there is nothing to see but chance.
    """
    best = (
        contrasts.sort(pl.col("difference").abs(), descending=True, maintain_order=True)
        .group_by("contrast", "kind", maintain_order=True)
        .head(_SHOWN)
        .join(promoted, on=KEY, how="left", maintain_order="left")
    )
    pairs = contrasts.select("contrast", "kind").unique(maintain_order=True).rows()
    figure, panels = _panels(len(pairs), 4.9, 0.5 + 0.32 * _SHOWN)
    for axes, (contrast, kind) in zip(panels, pairs, strict=True):
        some = best.filter(contrast=contrast, kind=kind).reverse()
        _points(axes, some, "difference", "low", "high")
        _finish(axes, some["label"].to_list(), f"{kind}: {contrast} ({some['items'][0]} items in the smaller group)")
    figure.suptitle("difference in mean logit attribution, with 95 % interval", fontsize=10)
    return figure


def told(attributions: pl.DataFrame, promoted: pl.DataFrame) -> dict[str, str]:
    """For each kind of token the two neurons that did most for it, for the person at the terminal."""
    lines: dict[str, list[str]] = {}
    best = _best(attributions).join(promoted, on=KEY, how="left", maintain_order="left")
    for row in best.group_by("kind", maintain_order=True).head(2).iter_rows(named=True):
        lines.setdefault(row["kind"], []).append(f"{row['logit']:+.3f} logit  {row['label']}")
    return {kind: "\n".join(each) for kind, each in lines.items()}


def _best(attributions: pl.DataFrame) -> pl.DataFrame:
    """The strongest of all items for each kind of token, the kinds in their order."""
    return (
        attributions.filter(pl.col("logp").is_not_null(), group="all")  # chosen for that very kind
        .sort(pl.col("kind").cast(pl.Enum(KINDS)), pl.col("logit").abs(), descending=[False, True], maintain_order=True)
        .group_by("kind", maintain_order=True)
        .head(_SHOWN)
    )


def _panels(count: int, width: float, height: float) -> tuple[Figure, list[Any]]:
    columns = min(_COLUMNS, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns, height * rows + 0.8), layout="constrained")
    every: list[Any] = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for spare in every[count:]:
        spare.set_axis_off()
    return figure, every[:count]


def _points(axes: Any, lines: pl.DataFrame, *names: str) -> None:
    """Values with their lower and upper ends, in the columns named, from below to above."""
    value, low, high = (lines[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in names)
    error = np.nan_to_num(np.stack([value - low, high - value])).clip(min=0)
    axes.errorbar(value, np.arange(len(value)), xerr=error, fmt="o", color=_LOGIT, capsize=2, markersize=4.5)


def _finish(axes: Any, labels: list[str], title: str) -> None:
    axes.axvline(0, color="#9aa0a6", linewidth=0.8)
    axes.set_yticks(range(len(labels)), labels, fontsize=8, family="monospace", parse_math=False)
    axes.set_ylim(-0.7, len(labels) - 0.3)
    axes.set_title(title, fontsize=9, loc="left", parse_math=False)
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
