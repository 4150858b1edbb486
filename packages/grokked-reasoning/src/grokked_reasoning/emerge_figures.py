"""What the stage `emerge` draws."""

from collections.abc import Mapping

import matplotlib
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, StrMethodFormatter, SymmetricalLogLocator
from runkit.tables import NEURON_KEY

from grokked_reasoning.emerging.numbers import emerged

_SHARES = {
    "known_from": "more like itself than strangers are",
    "fires_from": "fires as in the end",
    "writes_from": "writes as in the end",
}
_SAME = 1 - 1e-6
_GREY = "#9aa0a6"
_EXAMPLES = 6


def emergence(table: pl.DataFrame, courses: pl.LazyFrame, events: Mapping[str, int], threshold: float) -> Figure:
    """Shares of neurons that are what they will be, per layer (tables.Emergence); how alike all of them are, beside
    strangers, and some neurons' courses (tables.Course)."""
    figure = Figure(figsize=(13, 7.4), layout="constrained")
    grid = figure.add_gridspec(2, 3)
    steps = np.array(courses.select(pl.col("step").unique().sort()).collect()["step"].to_list())
    for place, (column, what) in enumerate(_SHARES.items()):
        axes = figure.add_subplot(grid[0, place])
        _shares(axes, table, column, steps)
        axes.set(title=f"{what}, from here on", ylabel="share of neurons", ylim=(0, 1.02))
    figure.axes[0].legend(frameon=False, fontsize=8, loc="upper left")
    _spread(figure.add_subplot(grid[1, 0]), courses, threshold)
    _examples(figure.add_subplot(grid[1, 1:]), _chosen(table), courses, threshold)
    for axes in figure.axes:
        _steps(axes, steps, events)
    return figure


def _shares(axes: Axes, table: pl.DataFrame, column: str, steps: np.ndarray) -> None:
    layers = table["layer"].unique().sort().to_list()
    # Where the last checkpoint is the finished model all is as it will be there: nothing that was found out.
    shown = steps[:-1] if (table["last"].drop_nulls() > _SAME).all() else steps
    for layer, color in zip(layers, _colors(len(layers)), strict=True):
        rows = table.filter(layer=layer)
        label = f"layer {layer}" if layer in _named(layers) else None
        shares = [emerged(rows, column, step) for step in shown]
        axes.plot(shown, shares, "o-", ms=2.5, lw=1.6, color=color, label=label)


def _spread(axes: Axes, courses: pl.LazyFrame, threshold: float) -> None:
    """Median and middle 80 % over neurons, and over strangers."""
    for column, color, label in (("alike", "#4c78a8", "itself"), ("strange_alike", _GREY, "another of its layer")):
        levels = [pl.col(column).quantile(q).alias(str(q)) for q in (0.1, 0.5, 0.9)]
        found = courses.group_by("step").agg(levels).sort("step").collect()
        axes.fill_between(found["step"], found["0.1"], found["0.9"], color=color, alpha=0.25, lw=0)
        axes.plot(found["step"], found["0.5"], color=color, lw=1.8, label=f"{label} in the end")
    axes.axhline(threshold, color="#555555", lw=0.8, ls="--")
    axes.set(title="a neuron's firing compared with", ylabel="correlation", ylim=(None, 1.02))
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(0, 0.88), title="median, 80 %")


def _examples(axes: Axes, chosen: pl.DataFrame, courses: pl.LazyFrame, threshold: float) -> None:
    kept = courses.join(chosen.lazy().select(NEURON_KEY), on=NEURON_KEY, how="semi").sort("step").collect()
    for row, color in zip(chosen.iter_rows(named=True), _colors(len(chosen)), strict=True):
        own = kept.filter(**{name: row[name] for name in NEURON_KEY})
        label = f"L{row['layer']}N{row['neuron']}{row['polarity']}, from {row['fires_from']:,}"
        axes.plot(own["step"], own["alike"], color=color, lw=1.5, label=label)
        axes.plot(own["step"], own["writes"], color=color, lw=0.9, ls=":")
    axes.axhline(threshold, color="#555555", lw=0.8, ls="--")
    axes.set(title="some neurons: firing (lines), writing (dots)", ylabel="correlation, cosine", ylim=(None, 1.02))
    if len(chosen):
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), title="fires as in the end")


def _chosen(table: pl.DataFrame) -> pl.DataFrame:
    """From the earliest to the latest, for some of the steps the neuron that fires most often of those from then on."""
    living = table.filter(pl.col("fires_from").is_not_null()).sort("fires_from", "active", descending=[False, True])
    each = living.unique("fires_from", keep="first", maintain_order=True)
    some = sorted({round(x) for x in np.linspace(0, len(each) - 1, min(_EXAMPLES, len(each)))})
    return each.select(pl.all().gather(some))


def _steps(axes: Axes, steps: np.ndarray, events: Mapping[str, int]) -> None:
    """A logarithmic axis from the first step after 0 on, with the events marked."""
    start = steps[steps > 0].min()
    axes.set_xscale("symlog", linthresh=start)
    axes.xaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=start, subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(xlabel="step", xlim=(steps.min(), steps.max()))
    axes.spines[["top", "right"]].set_visible(False)
    for name, step in events.items():
        axes.axvline(step, color="#888888", lw=0.8, ls=":")
        place = (step, 0.02)
        axes.annotate(
            name.replace("_", " "), place, xycoords=("data", "axes fraction"), rotation=90, fontsize=7, ha="right",
            color="#666666",
        )  # fmt: skip


def _named(layers: list[int]) -> list[int]:
    """Layers that the legend names: at most nine, so that it stays small."""
    return layers[:: -(-len(layers) // 9)]


def _colors(count: int) -> np.ndarray:
    return matplotlib.colormaps["viridis"](np.linspace(0.05, 0.9, count))
