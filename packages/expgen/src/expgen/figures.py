"""What `exemplars` draws: how strong, how dense and how silent the features of each layer are."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLORS = {"+": "#c94341", "-": "#3f6ea3"}
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class _Spread(NamedTuple):
    """The quantiles of a number over the features of each layer; NaN where a layer has none."""

    layers: list[int]
    values: Float[np.ndarray, "5 L"]


def activations(features: pl.DataFrame) -> Figure:
    """Per layer and polarity: peaks in standard deviations from the mean, densities, and the share that never fires.

    A row of panels per source. `features`: `tables.Features`. Lines reach from the 5 % to the 95 % quantile over the
    features that fire, thick ones from quartile to quartile, the dot is the median.
    """
    sources = features["source"].unique(maintain_order=True).to_list()
    figure = Figure(figsize=(15, 0.9 + 3.3 * len(sources)), layout="constrained")
    rows = figure.subplots(len(sources), 3, squeeze=False)
    for source, panels in zip(sources, rows, strict=True):
        _source(panels, source, features.filter(source=source))
    told = [f"{name} fires {'high' if name == '+' else 'low'}" for name in COLORS]
    handles = [rows[0][0].plot([], [], "o-", color=color)[0] for color in COLORS.values()]
    figure.legend(handles, told, loc="outside upper right", ncols=2, frameon=False)
    return figure


def _source(panels: np.ndarray, source: str, features: pl.DataFrame) -> None:
    strong, dense, silent = panels
    alive = features.filter("alive")
    sign = pl.when(polarity="+").then(1).otherwise(-1)
    peaks = alive.filter(pl.col("std") > 0).with_columns(shown=sign * (pl.col("peak") - pl.col("mean")) / pl.col("std"))
    _spreads(strong, peaks)
    _spreads(dense, alive.with_columns(shown=100 * pl.col("density")))
    _silent(silent, features)
    strong.set(title=f"{source}: peak", ylabel="standard deviations from the mean", ylim=(0, None))
    dense.set(title=f"{source}: density", ylabel="% of tokens above a tenth of the peak", ylim=(0, None))
    never = len(features) - len(alive)
    silent.set(title=f"{source}: {never:,} of {len(features):,} never fire", ylabel="% of the layer’s features")
    for axes in panels:
        _frame(axes, sorted(features["layer"].unique()))


def _spreads(axes: Axes, shown: pl.DataFrame) -> None:
    for (color, shift), spread in zip(_sides(), _by_polarity(shown), strict=True):
        low, lower, middle, upper, high = spread.values
        x = np.array(spread.layers) + shift
        axes.vlines(x, low, high, color=color, linewidth=1)
        axes.vlines(x, lower, upper, color=color, linewidth=4, alpha=0.55)
        axes.plot(x, middle, "o", color=color, markersize=4)


def _silent(axes: Axes, features: pl.DataFrame) -> None:
    for (color, shift), (polarity, _) in zip(_sides(), COLORS.items(), strict=True):
        told = features.filter(polarity=polarity).group_by("layer").agg((~pl.col("alive")).mean()).sort("layer")
        axes.bar(told["layer"].to_numpy() + shift, 100 * told["alive"].to_numpy(), width=0.28, color=color)
    axes.set_ylim(0, 1 if features["alive"].all() else None)


def _by_polarity(shown: pl.DataFrame) -> Iterator[_Spread]:
    for polarity in COLORS:
        of_it = shown.filter(polarity=polarity)
        layers = sorted(of_it["layer"].unique())
        found = [np.quantile(of_it.filter(layer=layer)["shown"].to_numpy(), _QUANTILES) for layer in layers]
        yield _Spread(layers, np.array(found).reshape(-1, len(_QUANTILES)).T)


def _sides() -> Iterator[tuple[str, float]]:
    """Each polarity's colour, and how far beside the layer's number it stands."""
    yield from zip(COLORS.values(), (-0.16, 0.16), strict=True)


def _frame(axes: Axes, layers: list[int]) -> None:
    step = max(1, -(-len(layers) // 16))
    axes.set_xticks(layers[::step])
    axes.set(xlabel="layer", xlim=(min(layers) - 0.6, max(layers) + 0.6))
    axes.spines[["top", "right"]].set_visible(False)
    axes.title.set_parse_math(False)
