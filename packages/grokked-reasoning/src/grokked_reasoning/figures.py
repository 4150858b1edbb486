"""What the stage `train` draws."""

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

COLORS = {
    "id_atomic": "#9aa0a6",
    "ood_atomic": "#cfcfcf",
    "train_inferred": "#4c78a8",
    "test_inferred_iid": "#e45756",
    "test_inferred_ood": "#f2a33a",
    "test_hard": "#b279a2",
    "test_inferred_io": "#54a24b",
    "test_inferred_oi": "#8ca252",
    "test_inferred_mixed": "#54a24b",
}
"""One colour per type of row, the same in every figure."""
_OTHERS = ("#72b7b2", "#ff9da6", "#9d755d", "#bab0ac", "#d67195", "#83bcb6")


def color(kind: str, number: int) -> str:
    """The colour of a type; others take turns."""
    return COLORS.get(kind, _OTHERS[number % len(_OTHERS)])


def curves(frame: pl.DataFrame, events: pl.DataFrame) -> Figure:
    """Accuracy of every type over steps (log scale from the first evaluation on), with the events marked."""
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.subplots()
    shown = frame.filter(pl.col("step") > 0)
    for number, kind in enumerate(shown["type"].unique(maintain_order=True)):
        rows = shown.filter(pl.col("type") == kind)
        label = f"{kind} (n={rows['n'][0]:,})"
        axes.plot(rows["step"], rows["accuracy"], label=label, color=color(kind, number), lw=1.8)
    mark_events(axes, events)
    axes.set(xlabel="step", ylabel="accuracy", ylim=(-0.02, 1.02))
    log_steps(axes)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    return figure


def log_steps(axes: Axes) -> None:
    """A logarithmic axis of steps, with plain numbers."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def mark_events(axes: Axes, events: pl.DataFrame) -> None:
    """A line at every event that has come, with its name above the plot, where no curve runs."""
    for name, step in events.select("event", "step").drop_nulls().iter_rows():
        axes.axvline(step, color="#888888", lw=0.8, ls=":")
        axes.annotate(
            name.replace("_", " "), (step, 1.01), xycoords=("data", "axes fraction"), rotation=30, fontsize=7,
            ha="left", va="bottom", color="#666666",
        )  # fmt: skip
