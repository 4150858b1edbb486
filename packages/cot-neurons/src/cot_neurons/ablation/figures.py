"""What `ablate` draws: each concept's damage by metric, over the control draws, and how it grows with the amount."""

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cot_neurons.ablation.cases import OPERATORS
from cot_neurons.ablation.interventions import AMOUNTS

_COLORS = {"target": "#e45756", "random": "#9aa0a6", "matched": "#4c78a8", "other": "#f2a33a"}
_PANELS = (
    ("solved", [*(f"solved {sign}" for sign in OPERATORS), "strict", "task strict"], "change of share right"),
    ("odds", [*(f"odds {sign}" for sign in OPERATORS), "odds answer", "task odds"], "change of log-odds, nats"),
)

_NOTHING = 0.05  # where an axis ends along which nothing changed


def ablation(effects: pl.DataFrame) -> Figure:
    """A row per concept; left what the model writes, right how likely it holds the reference solution.

    At the largest amount of change asked for, dots are conditions: red the concept's own neurons, the others control
    draws. So a red dot far below the cloud of its metric, and nowhere else, is a specific effect.
    """
    concepts = effects["concept"].drop_nulls().unique(maintain_order=True).to_list()
    figure = Figure(figsize=(13, 1.2 + 2.3 * len(concepts)), layout="constrained")
    axes = figure.subplots(len(concepts), 2, squeeze=False)
    for concept, row in zip(concepts, axes, strict=True):
        of_it = effects.filter(concept=concept)
        amount = _strongest(of_it)
        for panel, (_, metrics, label) in zip(row, _PANELS, strict=True):
            _dots(panel, of_it.filter(amount=amount), metrics)
            panel.set_title(f"{concept}  ({_done(of_it['mode'][0], amount)})", fontsize=9, loc="left")
            panel.set_ylabel(label, fontsize=8)
    handles = [axes[0, 0].scatter([], [], s=24, color=color, label=kind) for kind, color in _COLORS.items()]
    figure.legend(handles=handles, loc="outside upper right", ncols=4, fontsize=8, frameon=False)
    return figure


def _done(mode: str, amount: float) -> str:
    return f"{mode}, x {amount:g}" if mode in AMOUNTS else mode


def _strongest(effects: pl.DataFrame) -> float:
    """The amount at which the target hurt the log-probabilities most; the answers, where there are none of those."""
    target = effects.filter(kind="target")
    logp = target.filter(pl.col("metric").str.starts_with("logp "))
    told = target.filter(metric="strict") if logp.is_empty() else logp
    return told.sort("change", nulls_last=True)["amount"][0]


def _dots(axes: Axes, effects: pl.DataFrame, metrics: list[str]) -> None:
    known = [metric for metric in metrics if len(effects.filter(pl.col("metric") == metric).drop_nulls("change"))]
    random = np.random.default_rng(0)
    for place, metric in enumerate(known):
        of_it = effects.filter(metric=metric).drop_nulls("change")
        for kind, shift in (("random", -0.1), ("matched", 0.1), ("other", 0.3)):
            values = of_it.filter(kind=kind)["change"].to_numpy()
            jitter = random.uniform(-0.07, 0.07, len(values))
            axes.scatter(place + shift + jitter, values, s=9, alpha=0.6, color=_COLORS[kind], linewidths=0)
        for value, low, high in of_it.filter(kind="target").select("change", "low", "high").iter_rows():
            below, above = (0 if end is None else abs(value - end) for end in (low, high))
            axes.errorbar(place - 0.3, value, [[below], [above]], fmt="o", ms=5, capsize=2, color=_COLORS["target"])
    if not known:
        axes.text(0, 0.1, "not measured: the items hold nothing of it", ha="center", fontsize=8, color="#888888")
    axes.axhline(0, color="#cccccc", lw=0.8, zorder=0)
    axes.set_xticks(range(len(known)), known, fontsize=8)
    shown = effects.filter(pl.col("metric").is_in(known)).select("change", "low", "high").to_numpy()
    if not np.nan_to_num(shown).any():  # left to itself an axis of zeros alone may run from 0 to 1e-17
        axes.set_ylim(-_NOTHING, _NOTHING)
    axes.set_xlim(-0.6, max(len(known), 1) - 0.4)
    axes.tick_params(axis="y", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
