"""What training a simulator looked like, and what came of it."""

import numpy as np
import polars as pl
from matplotlib.figure import Figure

_SMOOTH = 20  # steps


def training(curve: pl.DataFrame, simulated: pl.DataFrame, said: str) -> Figure:
    """The loss step by step; and each held-out feature's correlation before and after training.

    `curve`, `simulated`: the tables of these names. `said`: the mean difference in words.
    """
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    steps, loss = curve["step"].to_numpy(), curve["loss"].to_numpy()
    smooth = curve["loss"].rolling_mean(_SMOOTH, min_samples=1).to_numpy()
    left.plot(steps, loss, color="#c7d3e3", linewidth=0.8, label="each step")
    left.plot(steps, smooth, color="#4c78a8", label=f"mean of the last {_SMOOTH}")
    left.set(xlabel="step", ylabel="cross-entropy, nats per token", yscale="log", title="training")
    left.legend(frameon=False)
    both = simulated.drop_nulls(["before", "after"])
    before, after = both["before"].to_numpy(), both["after"].to_numpy()
    low = min(-0.25, *before, *after) - 0.05 if len(both) else -0.3
    right.plot([low, 1], [low, 1], color="#9aa0a6", linewidth=0.8)
    right.scatter(before, after, s=18, color="#4c78a8", alpha=0.6, linewidths=0)
    if len(both):
        right.scatter([np.mean(before)], [np.mean(after)], s=90, marker="+", color="#e45756", label="mean")
        right.legend(frameon=False, loc="lower right")
    right.set(xlim=(low, 1.05), ylim=(low, 1.05), aspect="equal")
    right.set(xlabel="correlation before training", ylabel="after", title=f"{len(both)} held-out features; {said}")
    right.title.set_fontsize(10)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure
