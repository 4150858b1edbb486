"""The curves of several seeds in one figure."""

from io import BytesIO

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from grokked_reasoning.figures import color, log_steps
from grokked_reasoning.pages.evidence import Setting

_EVENTS = {
    "fitted": ("--", "training facts fitted"),
    "grokked_id": ("-", "ID grokked"),
    "grokked_ood": (":", "OOD grokked"),
}


def png(figure: Figure) -> bytes:
    """The figure as a file's content; the same figure gives the same bytes."""
    file = BytesIO()
    figure.savefig(file, format="png", dpi=130, bbox_inches="tight", metadata={"Software": None})
    return file.getvalue()


def curves(setting: Setting) -> Figure:
    """Accuracy of each type over steps (log scale): the median of the runs, a band from the least to the most.

    The median goes as far as all runs do. Vertical lines: events of each run.
    """
    figure = Figure(figsize=(7.6, 4.4), layout="constrained")
    axes = figure.subplots()
    every = pl.concat([each.curves.filter(pl.col("step") > 0) for each in setting.runs])
    for number, kind in enumerate(every["type"].unique(maintain_order=True)):
        _band(axes, every.filter(type=kind), kind, color(kind, number), len(setting.runs))
    for run in setting.runs:
        for name, (style, _) in _EVENTS.items():
            if step := run.event(name):
                axes.axvline(step, color="#777777", lw=0.9, ls=style, alpha=0.8, zorder=0)
    seen = [name for name in _EVENTS if any(run.event(name) for run in setting.runs)]
    for name in seen:
        axes.plot([], [], color="#777777", lw=0.9, ls=_EVENTS[name][0], label=_EVENTS[name][1])
    axes.set(xlabel="step", ylabel="accuracy", ylim=(-0.02, 1.02))
    log_steps(axes)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def _band(axes: Axes, rows: pl.DataFrame, kind: str, shade: str, runs: int) -> None:
    by_step = rows.group_by("step").agg(
        pl.col("accuracy").median().alias("middle"),
        pl.col("accuracy").min().alias("low"),
        pl.col("accuracy").max().alias("high"),
        pl.len().alias("runs"),
    )
    by_step = by_step.sort("step")
    whole = by_step.filter(pl.col("runs") == runs)
    label = f"{kind} (n={rows['n'].max():,})"
    axes.plot(whole["step"], whole["middle"], color=shade, lw=2, label=label)
    if runs > 1:
        axes.fill_between(by_step["step"], by_step["low"], by_step["high"], color=shade, alpha=0.2, lw=0)
