"""What the stage `attention` draws."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from memreason.attending.causal import EDITS, NONE
from memreason.trace import KINDS

COLORS = {"memory": "#3f6ea3", "reason": "#d07a2b"}
_WORDS = {0: "question", -1: "answer"}
_SPAN = 3  # powers of two that the colours of ratios reach
_FEW = 12


def by_class(mass: pl.DataFrame) -> Figure:
    """Attention from class to class, mean of all heads, and its ratio to even attention. `mass`: `tables.Mass`."""
    names = mass["key"].unique(maintain_order=True).to_list()
    means = mass.group_by("query", "key", maintain_order=True).agg(pl.col("mass", "uniform").mean())
    share, even = (means[column].to_numpy().reshape(len(names), -1) for column in ("mass", "uniform"))
    return _pair(share, even, (names, names), f"mean of {mass.select('layer', 'head').n_unique()} heads", "tokens")


def by_step(steps: pl.DataFrame) -> Figure:
    """Attention from step to step, and its ratio to even attention. `steps`: `tables.StepMass`."""
    weighted = (pl.col("mass", "uniform") * pl.col("n")).sum() / pl.col("n").sum()
    means = steps.group_by("query", "key").agg(weighted)
    places = sorted(steps["query"].unique(), key=lambda place: (place < 0, place))
    order = {place: number for number, place in enumerate(places)}
    grids = np.full((2, len(places), len(places)), np.nan)
    for query, key, share, even in means.iter_rows():
        grids[:, order[query], order[key]] = share, even
    names = [_WORDS.get(place, f"step {place}") for place in places]
    return _pair(grids[0], grids[1], (names, names), "mean of all layers and heads", "steps")


def by_head(mass: pl.DataFrame, kinds: Sequence[str]) -> Figure:
    """For the texts of both kinds of step, in each head: share of attention on tokens of each kind (or tags)."""
    queries = [f"{kind} text" for kind in KINDS if f"{kind} text" in mass["query"]]
    figure = Figure(figsize=(1.2 + 3.6 * len(kinds), 1.2 + 2.9 * len(queries)), layout="constrained")
    grid = figure.subplots(len(queries), len(kinds), squeeze=False)
    shown = mass.filter(pl.col("query").is_in(queries), pl.col("key").is_in(kinds))
    scale = Normalize(0, float(shown["mass"].to_numpy().max()))
    for axes, (query, key) in zip(grid.flat, [(query, key) for query in queries for key in kinds], strict=True):
        some = shown.filter(query=query, key=key)
        axes.set(title=f"{query} → {key} tokens", xlabel="head", ylabel="layer")
        values = some.pivot("head", index="layer", values="mass").drop("layer").to_numpy()
        axes.imshow(values, aspect="auto", origin="lower", cmap="viridis", norm=scale)
        _whole(axes, values.shape[1], sorted(some["layer"].unique()))
        if not some["uniform"].sum():
            axes.text(0.5, 0.5, "never before it", transform=axes.transAxes, ha="center", va="center", color="w")
    figure.colorbar(ScalarMappable(scale, "viridis"), ax=grid, label="share of a query’s attention")
    return figure


def causes(table: pl.DataFrame) -> Figure:
    """What ablating and swapping type tokens does to the step after them. `table`: `tables.Causes`."""
    known = table["flipped"].is_not_null().any()
    figure = Figure(figsize=(9 if known else 5, 3.6), layout="constrained")
    panels = figure.subplots(1, 2 if known else 1, squeeze=False)[0]
    edits = [edit for edit in EDITS if edit in table["edit"]]
    _bars(panels[0], table, [edit for edit in edits if edit != NONE], "change")
    panels[0].axhline(0, color="#444444", lw=0.8)
    panels[0].set(title="what the step’s own text is worth", ylabel="change of log-probability\nper token (nats)")
    if known:
        _bars(panels[1], table, edits, "flipped")
        panels[1].set(title="written instead: a step of the other kind", ylabel="share of steps", ylim=(0, 1.02))
    handles = [panels[0].plot([], [], "s", color=color)[0] for color in COLORS.values()]
    figure.legend(handles, [f"{kind} steps" for kind in COLORS], loc="outside lower center", ncols=2, frameon=False)
    return figure


def _bars(axes: Axes, table: pl.DataFrame, edits: Sequence[str], column: str) -> None:
    for side, (kind, color) in zip((-0.18, 0.18), COLORS.items(), strict=True):
        some = {row["edit"]: row for row in table.filter(kind=kind).iter_rows(named=True)}
        for x, edit in enumerate(edits):
            if edit in some:
                axes.bar(x + side, some[edit][column], width=0.34, color=color)
                _whisker(axes, x + side, some[edit], column)
    axes.set_xticks(range(len(edits)), edits)
    axes.spines[["top", "right"]].set_visible(False)


def _whisker(axes: Axes, x: float, row: dict[str, Any], column: str) -> None:
    if column == "change" and row["low"] is not None:
        axes.plot([x, x], [row["low"], row["high"]], color="#222222", lw=1.2)


def _pair(
    share: Float[np.ndarray, "Q K"],
    even: Float[np.ndarray, "Q K"],
    names: tuple[list[str], list[str]],
    over: str,
    of: str,
) -> Figure:
    """Two maps of queries (rows) by keys (columns): shares, and how many times as much as even attention gives."""
    size = 1.8 + 0.5 * len(names[0])
    figure = Figure(figsize=(2 * size + 2, size), layout="constrained")
    left, right = figure.subplots(1, 2)
    _map(
        figure, left, np.where(even > 0, share, np.nan), names, f"share of a query’s attention, {over}", "Blues", (0, 1)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(even > 0, share / even, np.nan)
    _map(figure, right, ratio, names, "times what even attention gives", "RdBu_r", None)
    for axes in (left, right):
        axes.set(xlabel=f"looked at: {of}", ylabel=f"looking: {of}")
    return figure


def _map(
    figure: Figure, axes: Axes, values: np.ndarray, names: tuple[list[str], list[str]], title: str, colors: str,
    limits: tuple[float, float] | None,
) -> None:  # fmt: skip
    """Without `limits` colours are on a scale of powers of two around 1."""
    scaled = values if limits else np.log2(np.clip(values, 2.0**-_SPAN, 2.0**_SPAN))
    low, high = limits or (-_SPAN, _SPAN)
    image = axes.imshow(scaled, cmap=colors, vmin=low, vmax=high, aspect="auto")
    bar = figure.colorbar(image, ax=axes, fraction=0.05)
    if not limits:
        bar.set_ticks(range(-_SPAN, _SPAN + 1), labels=[f"{2.0**power:g}" for power in range(-_SPAN, _SPAN + 1)])
    axes.set_title(title, fontsize=10)
    axes.set_xticks(range(len(names[1])), names[1], rotation=45, ha="right")
    axes.set_yticks(range(len(names[0])), names[0])
    if len(names[0]) > _FEW:
        return
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            dark = abs(scaled[row, column] - (0 if not limits else low)) > 0.6 * high
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color="w" if dark else "k")


def _whole(axes: Axes, heads: int, layers: list[int]) -> None:
    """Ticks at whole numbers, not too many."""
    every = max(1, -(-heads // _FEW))
    axes.set_xticks(range(0, heads, every))
    every = max(1, -(-len(layers) // _FEW))
    axes.set_yticks(range(0, len(layers), every), [str(layer) for layer in layers[::every]])
