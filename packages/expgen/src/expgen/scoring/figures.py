"""What `score` draws; the numbers stand in the table `best`."""

import numpy as np
import polars as pl
from matplotlib.figure import Figure

_COLORS = {"best candidate": "#4c78a8", "another neuron's": "#e45756", "empty": "#9aa0a6", "token look-up": "#f2a33a"}
_COLUMNS = dict(zip(_COLORS, ("value", "null_other", "null_empty", "null_lookup"), strict=True))
_AXES = {
    "simulation": "correlation of predicted and true activation",
    "detection": "AUROC: in which texts does it fire?",
    "fuzzing": "AUROC: are the right tokens marked?",
    "intervention": "effect on the words of the description, in standard deviations",
}


def scores(best: pl.DataFrame, scorer: str, split: str) -> Figure:
    """How many features have at least a given score: the best candidates beside null descriptions."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, column in _COLUMNS.items():
        values = np.sort(best[column].drop_nulls().to_numpy())[::-1]
        if len(values):
            label = f"{name}: median {np.median(values):.2f}, {len(values):,} of {len(best):,}"
            shares = 100 * np.arange(1, len(values) + 1) / len(best)
            width = 3 if column == "value" else 1.6
            x, y = np.r_[values[0], values], np.r_[0, shares]
            axes.step(x, y, where="post", color=_COLORS[name], label=label, lw=width)
    none = 0.5 if scorer in ("detection", "fuzzing") else 0.0
    axes.axvline(none, color="#555555", lw=0.8, ls=":")
    axes.set(ylim=(0, 101), xlabel=_AXES[scorer], ylabel="share of described features with\nat least this score, %")
    axes.set_title(f"{scorer} on the split {split}; what has no value is in no curve", fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    if axes.lines[:-1]:
        axes.legend(frameon=False, fontsize=9)
    return figure
