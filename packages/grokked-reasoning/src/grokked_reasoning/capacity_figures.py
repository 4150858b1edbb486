"""What the stage `capacity` draws."""

from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from grokked_reasoning.capacities.bits import ALL

_COLORS = ("#4c78a8", "#e45756", "#54a24b", "#f2a33a", "#b279a2", "#72b7b2", "#9d755d", "#ff9da6")
_PANELS = {
    ("one-hop", "average"): "facts (one-hop questions)",
    ("two-hop", "average"): "two-hop questions, each fact stored once",
    ("two-hop", "2-hop-double"): "two-hop questions, relations stored twice",
    ("two-hop", "2-hop-big-hash"): "two-hop questions, each answer stored",
    ("both", "2-hop-big-hash"): "each answer stored, and the facts",
}
_GREY: dict[str, Any] = {"color": "#888888", "lw": 1.2}
_COLUMNS = 3
_BITS = {2: "-", 1: ":"}
"""Bits per parameter that a line stands for: after 1000 exposures, and after 100 (2404.05405)."""


def capacity(found: pl.DataFrame) -> Figure:
    """Bits known against parameters, a panel per way to count them (tables.Capacity, "all"), a colour per world.

    Log-log as in 2502.03490 and 2404.05405: dashed lines are all there is to know, grey ones bits per parameter.
    Models that know less than nothing have no place there and are counted.
    """
    totals = found.filter(attribute=ALL)
    shown = [key for key in _PANELS if len(totals.filter(questions=key[0], scheme=key[1]))]
    columns = min(len(shown), _COLUMNS)
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(1.6 + 4.2 * columns, 0.9 + 3.9 * rows), layout="constrained")
    colors: dict[int, str] = dict(zip(totals["people"].unique().sort(), _COLORS * len(totals), strict=False))
    for number, key in enumerate(shown):
        axes = figure.add_subplot(rows, columns, number + 1)
        _panel(axes, totals.filter(questions=key[0], scheme=key[1]), colors)
        axes.set_title(_PANELS[key], fontsize=10)
    figure.legend(handles=_legend(colors), loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return figure


def _panel(axes: Axes, rows: pl.DataFrame, colors: dict[int, str]) -> None:
    drawn = rows.filter(pl.col("capacity") > 0)
    axes.set(xscale="log", yscale="log", xlabel="parameters, embeddings included", ylabel="bits known")
    for (people,), group in drawn.group_by("people", maintain_order=True):
        _models(axes, group.sort("parameters"), colors[people])
    for people, entropy in rows.select("people", "entropy").unique().sort("people").iter_rows():
        axes.axhline(entropy, color=colors[people], ls="--", lw=1)
    _lines(axes, rows)
    if missing := len(rows) - len(drawn):
        axes.text(0.03, 0.97, f"{missing} below 0 bits", transform=axes.transAxes, va="top", fontsize=8)
    least = drawn["capacity"].to_numpy().min(initial=rows["entropy"].to_numpy().min())
    axes.set_ylim(0.5 * least, 2 * rows["entropy"].to_numpy().max())
    axes.spines[["top", "right"]].set_visible(False)


def _models(axes: Axes, rows: pl.DataFrame, color: str) -> None:
    """Points with intervals; filled where training had converged. Models of one depth are joined."""
    x, y = rows["parameters"].to_numpy(), rows["capacity"].to_numpy()
    below = np.minimum(y - rows["low"].to_numpy(), 0.999 * y)
    axes.errorbar(x, y, yerr=[below.clip(0), (rows["high"].to_numpy() - y).clip(0)], fmt="none", color=color, lw=1)
    for _, depth in rows.group_by("layers", maintain_order=True):
        axes.plot(depth["parameters"], depth["capacity"], color=color, lw=1, alpha=0.5)
    settled = rows["converged"].fill_null(value=False).to_numpy()
    for marks, face in ((settled, color), (~settled, "white")):
        axes.scatter(x[marks], y[marks], s=28, color=face, edgecolors=color, zorder=3)


def _lines(axes: Axes, rows: pl.DataFrame) -> None:
    """Lines of so many bits per parameter across the panel."""
    sizes = rows["parameters"].to_numpy()
    ends = np.array([0.8 * sizes.min(), 1.25 * sizes.max()])
    for bits, style in _BITS.items():
        axes.plot(ends, bits * ends, ls=style, zorder=0, **_GREY)
    axes.set_xlim(*ends)


def _legend(colors: dict[int, str]) -> list[Line2D]:
    marks: dict[str, Any] = {"marker": "o", "ls": "none", "color": "#666666"}
    return [
        *(Line2D([], [], color=color, marker="o", label=f"{people:,} people") for people, color in colors.items()),
        Line2D([], [], color="#666666", ls="--", lw=1, label="all there is to know"),
        *(
            Line2D([], [], ls=style, label=f"{n} bit{'s' * (n > 1)} per parameter", **_GREY)
            for n, style in _BITS.items()
        ),
        Line2D([], [], **marks, label="converged"),
        Line2D([], [], **marks, mfc="white", label="not, or not known"),
    ]
