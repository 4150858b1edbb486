"""What `stability` draws: overlap against the number of items and k, and of every two runs."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cot_neurons.tags import KINDS

KIND_COLORS: dict[str, str] = dict(
    zip(
        KINDS,
        ["#9aa0a6", "#4c78a8", "#e45756", "#b3322f", "#f58f8e", "#7a1f1e", "#f2a33a", "#54a24b", "#b279a2", "#dddddd"],
        strict=True,
    )
)
"""One colour per kind of token; the operators are shades of one."""


def means(overlaps: pl.DataFrame) -> pl.DataFrame:
    """Mean and standard deviation of the overlap per axis, amount and kind, with the mean chance level."""
    jaccard = pl.col("jaccard")
    return overlaps.group_by("axis", "amount", "kind", maintain_order=True).agg(
        pairs=jaccard.count(), mean=jaccard.mean(), sd=jaccard.std(), chance=pl.col("chance").mean()
    )


def stability(overlaps: pl.DataFrame) -> Figure:
    """Panels: overlap of disjoint draws by their number of items; of smaller k with the run's; of runs, if several."""
    shown = means(overlaps)
    draws, fewer = shown.filter(pl.col("axis").is_in(["items", "seed"])), shown.filter(pl.col("axis") == "k")
    runs = overlaps.filter(pl.col("axis") == "prompt")
    panels = [(draws, "items in each of two draws that share none"), (fewer, "neurons kept per layer and step")]
    panels = [(frame, label) for frame, label in panels if len(frame)]
    figure = Figure(figsize=(5.2 * (len(panels) + (len(runs) > 0)), 4.2), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(panels) + (len(runs) > 0)))
    for each, (frame, label) in zip(axes, panels, strict=False):
        _curves(each, frame, label)
    axes[0].legend(*axes[0].get_legend_handles_labels(), fontsize=8, ncols=2, frameon=False)
    if len(runs):
        _matrix(axes[-1], runs)
    return figure


def _curves(axes: Axes, frame: pl.DataFrame, label: str) -> None:
    for kind in [kind for kind in KINDS if kind in frame["kind"]]:
        line = frame.filter((pl.col("kind") == kind) & pl.col("mean").is_not_null()).sort("amount")
        spread = line["sd"].fill_null(0).to_numpy()
        axes.errorbar(line["amount"].to_numpy(), line["mean"].to_numpy(), spread, color=KIND_COLORS[kind],
                      marker="o", markersize=4, linewidth=1.3, elinewidth=0.7, label=kind)  # fmt: skip
    random = frame.group_by("amount").agg(pl.col("chance").mean()).sort("amount")
    axes.plot(random["amount"].to_numpy(), random["chance"].to_numpy(), "k--", linewidth=1, label="by chance")
    amounts = sorted(frame["amount"].unique())
    axes.set_xscale("log")
    axes.set_xticks(amounts, [str(each) for each in amounts])
    axes.minorticks_off()
    axes.set(ylim=(0, 1.02), xlabel=label, ylabel="Jaccard overlap of the neurons found (mean ± sd)")
    axes.spines[["top", "right"]].set_visible(False)


def _matrix(axes: Axes, runs: pl.DataFrame) -> None:
    """Mean overlap over the kinds of token, for every two runs."""
    names: Sequence[str] = list(dict.fromkeys([*runs["one"], *runs["other"]]))
    grid = np.eye(len(names))
    for one, other, overlap in runs.group_by("one", "other").agg(pl.col("jaccard").mean()).iter_rows():
        i, j = names.index(one), names.index(other)
        grid[i, j] = grid[j, i] = np.nan if overlap is None else overlap
    axes.imshow(grid, vmin=0, vmax=1, cmap="Blues")
    for i, j in np.ndindex(grid.shape):
        axes.text(j, i, f"{grid[i, j]:.2f}", ha="center", va="center", color="white" if grid[i, j] > 0.6 else "black")
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set_title("overlap of runs, mean over kinds", fontsize=10)
