"""What a training looked like."""

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

_SMOOTH = 20  # steps


def training(curve: pl.DataFrame, looks: pl.DataFrame) -> Figure:
    """The loss step by step; and what the looks at the dev split saw. The tables `curve` and `selection`."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    smooth = curve["loss"].rolling_mean(_SMOOTH, min_samples=1).to_numpy()
    left.plot(
        curve["step"].to_numpy(),
        curve["loss"].to_numpy(),
        color="#c7d3e3",
        linewidth=0.8,
        label="each step, texts and traces",
    )
    left.plot(curve["step"].to_numpy(), smooth, color="#4c78a8", label=f"mean of the last {_SMOOTH}")
    told = looks.drop_nulls("loss")
    if len(told):
        left.plot(
            told["step"].to_numpy(), told["loss"].to_numpy(), "o-", color="#f58518", markersize=4, label="dev traces"
        )
    left.set(xlabel="step", ylabel="cross-entropy, nats per token", yscale="log", title="loss")
    left.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    left.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    left.yaxis.set_minor_formatter(NullFormatter())
    left.legend(frameon=False)
    _selection(right, looks)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _selection(axes: Axes, looks: pl.DataFrame) -> None:
    """Right and invalid answers at each look; the student that was kept is marked."""
    if looks.is_empty():
        axes.text(0.5, 0.5, "no dev split:\nthe last step is kept", ha="center", va="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    steps = looks["step"].to_numpy()
    axes.plot(steps, looks["accuracy"].to_numpy(), "o-", color="#4c78a8", markersize=4, label="right")
    axes.plot(steps, looks["invalid"].to_numpy(), "o--", color="#e45756", markersize=4, label="no valid answer")
    kept = looks.filter("chosen")
    axes.plot(kept["step"].to_numpy(), kept["accuracy"].to_numpy(), "*", color="#f58518", markersize=14, label="kept")
    title = f"greedy answers to {looks['n'][0]} dev questions"
    axes.set(xlabel="step", ylabel="share of the questions", ylim=(-0.03, 1.03), title=title)
    axes.legend(frameon=False)
