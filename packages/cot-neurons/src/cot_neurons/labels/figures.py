"""What `label` draws."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_JITTER = 0.16


def labels(given: pl.DataFrame, concepts: Sequence[str], layers: int) -> Figure:
    """Left: labelled neurons per layer and concept. Right: how well each label stands up to held-out chains."""
    size = (max(9.0, 5.2 + 1.5 * len(concepts)), 3.4 + 0.22 * layers)
    figure = Figure(figsize=size, layout="constrained")
    left, right = figure.subplots(1, 2)
    _map(left, given, concepts, layers)
    _tests(right, given, concepts)
    judges = " and ".join(given["judge"].unique(maintain_order=True))
    figure.suptitle(f"neurons labelled by {judges}" if judges else "no neuron was labelled", parse_math=False)
    return figure


def _map(axes: Axes, given: pl.DataFrame, concepts: Sequence[str], layers: int) -> None:
    counts = np.zeros((layers, len(concepts)), dtype=int)
    for layer, concept in (
        given.select("layer", "neuron", "polarity", "concept").unique().select("layer", "concept").iter_rows()
    ):
        counts[layer, concepts.index(concept)] += 1
    axes.imshow(counts, aspect="auto", cmap="Blues", origin="lower", vmin=0)
    dark = counts.max() * 0.6
    if layers <= 40:
        for (layer, place), count in np.ndenumerate(counts):
            if count:
                axes.text(
                    place, layer, str(count), ha="center", va="center", color="white" if count > dark else "black"
                )
    axes.set_xticks(range(len(concepts)), concepts, rotation=35, ha="right")
    step = max(1, layers // 16)
    axes.set_yticks(range(0, layers, step))
    axes.set(ylabel="layer", title="labelled neurons (each sign for itself)")


def _tests(axes: Axes, given: pl.DataFrame, concepts: Sequence[str]) -> None:
    random = np.random.default_rng(0)
    for place, concept in enumerate(concepts):
        tested = given.filter(pl.col("auroc").is_not_null(), concept=concept)
        rows = tested.unique(["layer", "neuron", "polarity"], maintain_order=True)  # points keep their places
        values, valid = rows["auroc"].to_numpy(), rows["validated"].fill_null(False).to_numpy()
        across = place + random.uniform(-_JITTER, _JITTER, len(values))
        axes.scatter(across[valid], values[valid], s=14, color="#54a24b", alpha=0.8, linewidths=0)
        axes.scatter(across[~valid], values[~valid], s=14, facecolors="none", edgecolors="#9aa0a6", linewidths=0.8)
        if len(values):
            axes.hlines(np.median(values), place - 0.3, place + 0.3, color="black", linewidth=1.2)
        else:
            axes.text(place, 0.51, "none tested", ha="center", va="bottom", fontsize=8, color="#5f6368")
    axes.axhline(0.5, color="#9aa0a6", linestyle="--", linewidth=0.8)
    axes.set_xticks(range(len(concepts)), concepts, rotation=35, ha="right")
    axes.set(xlim=(-0.5, len(concepts) - 0.5), ylim=(-0.03, 1.03), ylabel="AUROC")
    axes.set_title(
        "firing where a token of the concept is written\n(filled: 95 % interval above 0.5; line: median)", fontsize=10
    )
    axes.spines[["top", "right"]].set_visible(False)
