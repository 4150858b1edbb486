"""The figure of the atlas: what was found beside what chance gives."""

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

_FOUND, _CHANCE = "#3f6ea3", "#b3423a"
_ACROSS = 3
_PANELS = {
    "described": "described so, in words",
    "peaks": "peaking on its tokens",
    "next": "peaking right before its tokens",
    "overlap, memory": "higher in memory steps",
    "overlap, reason": "higher in reasoning steps",
}


def atlas(answers: pl.DataFrame) -> Figure | None:
    """A panel per question whose answers are shares: bars by label with 95 % intervals; a line where chance is.

    None where there is no such answer.
    """
    shares = answers.filter(pl.col("of") == "share", pl.col("n") > 0)
    there = [question for question in _PANELS if question in set(shares["question"])]
    if not there:
        return None
    across = min(_ACROSS, len(there))
    down = -(-len(there) // across)
    figure = Figure(figsize=(3.2 * max(2, across), 0.7 + 2.6 * down), layout="constrained")
    places = figure.subplots(down, across, squeeze=False).ravel()
    for axes, question in zip(places, there, strict=False):
        _panel(axes, shares.filter(question=question), _PANELS[question])
    for axes in places[len(there) :]:
        axes.set_axis_off()
    figure.suptitle("of the neurons labelled so, % that are ...")
    found, chance = figure.axes[0].patches[0], Line2D([], [], color=_CHANCE, lw=2)
    figure.legend(
        [found, chance], ["found, 95 % interval", "chance"], loc="outside lower center", ncols=2, frameon=False
    )
    return figure


def _panel(axes: Axes, rows: pl.DataFrame, title: str) -> None:
    places = np.arange(len(rows))
    value, low, high, null = (100 * rows[name].to_numpy() for name in ("value", "low", "high", "null"))
    axes.bar(places, value, width=0.62, color=_FOUND, alpha=0.85)
    ends = np.stack([np.maximum(value - low, 0), np.maximum(high - value, 0)])
    axes.errorbar(places, value, ends, fmt="none", ecolor="#22252a", lw=1, capsize=2)
    axes.hlines(null, places - 0.42, places + 0.42, color=_CHANCE, lw=2)
    names = [f"{about}\n({n:,})" for about, n in rows.select("about", "n").iter_rows()]
    axes.set_xticks(places, names, fontsize=8, rotation=25, ha="right", rotation_mode="anchor")
    axes.set(title=title, ylim=(0, None))
    axes.title.set_fontsize(10)
    axes.spines[["top", "right"]].set_visible(False)
