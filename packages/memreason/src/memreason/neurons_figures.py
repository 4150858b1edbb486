"""What the stage `neurons` draws."""

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from memreason.attention_figures import COLORS

_SILENT = "#c4c4c4"
_SHOWN = 20_000


def neurons(table: pl.DataFrame) -> Figure:
    """How many neurons of each layer are higher in one kind of step, and how far each tells the kinds apart.

    `table`: `tables.Neurons`, of which the rows of polarity + are shown.
    """
    plus = table.filter(polarity="+")
    figure = Figure(figsize=(10.5, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.2))
    _by_layer(left, plus)
    _by_neuron(right, plus)
    handles = [left.plot([], [], "s", color=color)[0] for color in (*COLORS.values(), _SILENT)]
    told = [*(f"higher in {kind} steps" for kind in COLORS), "not told apart"]
    figure.legend(handles, told, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _by_layer(axes: Axes, plus: pl.DataFrame) -> None:
    layers = sorted(plus["layer"].unique())
    for side, (kind, color) in zip((-0.19, 0.19), COLORS.items(), strict=True):
        shares = plus.group_by("layer").agg(share=100 * (pl.col("selective") == kind).mean()).sort("layer")
        axes.bar(np.arange(len(layers)) + side, shares["share"], width=0.36, color=color)
    every = max(1, -(-len(layers) // 16))
    axes.set_xticks(range(0, len(layers), every), layers[::every])
    axes.set(xlabel="layer", ylabel="% of the layer’s neurons", title="selective neurons", ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)


def _by_neuron(axes: Axes, plus: pl.DataFrame) -> None:
    """AUROC over layers, each neuron a dot beside its layer's number; of very many, every so manyeth."""
    shown = plus.gather_every(max(1, len(plus) // _SHOWN))
    places = {layer: number for number, layer in enumerate(sorted(plus["layer"].unique()))}
    for kind, color in (("", _SILENT), *COLORS.items()):
        some = shown.filter(selective=kind)
        spread = 0.7 * ((some["neuron"].to_numpy() * 0.618034) % 1 - 0.5)
        x = np.array([places[layer] for layer in some["layer"]]) + spread
        axes.plot(x, some["auroc"], ".", color=color, ms=3, alpha=0.7, mew=0)
    axes.axhline(0.5, color="#444444", lw=0.8)
    every = max(1, -(-len(places) // 16))
    axes.set_xticks(range(0, len(places), every), list(places)[::every])
    axes.set(xlabel="layer", ylabel="AUROC, memory over reasoning", ylim=(-0.02, 1.02), title="each neuron")
    axes.spines[["top", "right"]].set_visible(False)
