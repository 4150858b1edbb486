"""What `activity` draws, and says at its end: numbers that also stand in its tables."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

_COLUMNS = 3
_GROUPS = {"all": ("o-", "#4c78a8", 0.0), "right": ("^", "#54a24b", -0.17), "wrong": ("v", "#e45756", 0.17)}
_TAGS = ("all", "text", "operand", "operator", "equals", "result", "answer")
_LONGEST = 16


def by_variant(means: pl.DataFrame, correlations: pl.DataFrame, sizes: Mapping[str, int]) -> Figure:
    """The paper's question in one figure: accuracy of every prompt as bars, and over them each concept's activity.

    `sizes`: neurons per concept. Variants stand in the order of their accuracy.
    """
    variants = _by_accuracy(means)
    width = max(3.6, 1.2 + 0.45 * len(variants))
    figure, panels = _panels(len(sizes), width, 3.0)
    for axes, (concept, size) in zip(panels, sizes.items(), strict=True):
        bars: Any = axes.twinx()
        bars.bar(range(len(variants)), list(variants.values()), color="#dadce0", width=0.7, label="accuracy")
        bars.set(ylim=(0, 1))
        bars.yaxis.set_major_formatter(PercentFormatter(1.0))
        bars.tick_params(colors="#80868b", labelsize=8)
        axes.set_zorder(bars.get_zorder() + 1)  # the lines lie over the bars
        axes.patch.set_visible(False)
        for group, (style, color, shift) in _GROUPS.items():
            some = means.filter(concept=concept, tag="all", group=group)
            _errorbars(axes, some, list(variants), style, color, shift, f"active, {group} items")
        axes.set_xticks(range(len(variants)), [_short(name) for name in variants], rotation=35, ha="right", fontsize=8)
        axes.set_ylim(0, max(0.05, 1.25 * axes.get_ylim()[1]))
        axes.set_title(f"{concept} ({size} neuron{'s' * (size != 1)})\n{_said(correlations, concept)}", fontsize=9)
    _spine(figure, panels, "active neurons per step", "accuracy (bars)")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names), frameon=False, fontsize=9)
    return figure


def by_tag(means: pl.DataFrame, sizes: Mapping[str, int]) -> Figure:
    """Where in a chain each concept's neurons are active, by variant and kind of token."""
    variants = list(_by_accuracy(means))
    tags = [tag for tag in _TAGS if tag in means["tag"].unique().to_list()]
    figure, panels = _panels(len(sizes), 1.4 + 0.5 * len(tags), 1.1 + 0.3 * len(variants))
    everywhere = means.filter(group="all")
    for axes, (concept, size) in zip(panels, sizes.items(), strict=True):
        found = {(v, t): a for v, t, a in everywhere.filter(concept=concept).select("variant", "tag", "active").rows()}
        values = np.array([[found.get((variant, tag)) for tag in tags] for variant in variants], dtype=float)
        axes.imshow(values, aspect="auto", cmap="Blues", vmin=0, vmax=max(float(np.nanmax(values)), 1e-9))
        dark = 0.6 * float(np.nanmax(values))
        for (i, j), value in np.ndenumerate(values):
            text = "–" if np.isnan(value) else f"{value:.2g}"
            axes.text(j, i, text, ha="center", va="center", fontsize=7, color="white" if value > dark else "black")
        axes.set_xticks(range(len(tags)), tags, rotation=35, ha="right", fontsize=8)
        axes.set_yticks(range(len(variants)), [_short(name) for name in variants], fontsize=8)
        axes.set_title(f"{concept} ({size} neuron{'s' * (size != 1)})", fontsize=9)
        axes.tick_params(length=0)
    figure.suptitle("active neurons per step, by kind of token written (–: none of that kind)", fontsize=10)
    return figure


def told(correlations: pl.DataFrame) -> dict[str, str]:
    """Concept -> how its activity goes with accuracy, for the person at the terminal."""
    return {concept: _said(correlations, concept) for concept in correlations["concept"].unique(maintain_order=True)}


def _panels(count: int, width: float, height: float) -> tuple[Figure, list[Any]]:
    """A grid of `count` axes, each of this size in inches."""
    columns = min(_COLUMNS, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns + 0.6, height * rows + 0.7), layout="constrained")
    every: Sequence[Any] = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for spare in every[count:]:
        spare.set_axis_off()
    return figure, list(every[:count])


def _by_accuracy(means: pl.DataFrame) -> dict[str, float]:
    """Variant -> accuracy, the best first."""
    pairs = means.select("variant", "accuracy").unique(maintain_order=True)
    return dict(pairs.sort("accuracy", descending=True, maintain_order=True).rows())


def _errorbars(
    axes: Any, means: pl.DataFrame, variants: list[str], style: str, color: str, shift: float, label: str
) -> None:
    order = pl.DataFrame({"variant": variants}).with_row_index("place")
    there = order.join(means, on="variant").filter(pl.col("active").is_not_null()).sort("place")
    value, low, high = (there[name].cast(pl.Float64).to_numpy() for name in ("active", "active_low", "active_high"))
    error = np.nan_to_num(np.stack([value - low, high - value]))
    axes.errorbar(
        there["place"].to_numpy() + shift, value, error.clip(min=0), fmt=style, color=color, label=label,
        capsize=2, markersize=5, linewidth=1.2, elinewidth=0.9,
    )  # fmt: skip


def _spine(figure: Figure, panels: Sequence[Any], left: str, right: str) -> None:
    figure.supylabel(left, fontsize=9, color="#4c78a8")
    figure.text(1.0, 0.5, right, rotation=90, ha="left", va="center", fontsize=9, color="#80868b")
    for axes in panels:
        axes.tick_params(axis="y", labelsize=8, colors="#4c78a8")


def _said(correlations: pl.DataFrame, concept: str) -> str:
    row = correlations.filter(concept=concept, measure="active", level="variants").row(0, named=True)
    if row["r"] is None:
        why = "three are needed" if row["n"] < 3 else "one of the two does not vary"
        return f"r over {row['n']} variant{'s' * (row['n'] != 1)}: {why}"
    ends = "" if row["r_low"] is None else f" [{row['r_low']:.2f}, {row['r_high']:.2f}]"
    return f"r = {row['r']:.2f}{ends} over {row['n']} variants"


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
