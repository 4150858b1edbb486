"""What `evaluate` draws: accuracies with their intervals, and the steps that were written."""

from collections.abc import Mapping, Sequence

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from memreason import measured
from memreason.trace import MEMORY, REASON

COLORS = {MEMORY: "#3f6ea3", REASON: "#c94341"}
_OTHERS = ("#5a9a68", "#8d6aa8", "#b8863b", "#4aa0a8", "#777777")


def accuracy(answers: pl.DataFrame, kinds: Sequence[str]) -> Figure:
    """Per dataset and split: accuracy with its 95 % interval and the share of invalid answers; steps of each kind.

    `answers`: of `tables.Answers`; `kinds`: what the student's arm tells of its steps.
    """
    groups = measured.groups(answers)
    figure = Figure(figsize=(11, 1.6 + 0.55 * len(groups)), layout="constrained")
    right, steps = figure.subplots(1, 2, sharey=True)
    _accuracies(right, groups)
    _steps(steps, groups, kinds)
    names = [f"{name} ({len(part):,})" for name, part in groups.items()]
    right.set_yticks(range(len(names)), names)
    right.set_ylim(len(names) - 0.4, -0.6)
    for axes in (right, steps):
        axes.spines[["top", "right"]].set_visible(False)
        axes.title.set_parse_math(False)
    return figure


def _accuracies(axes: Axes, groups: Mapping[str, pl.DataFrame]) -> None:
    for place, part in enumerate(groups.values()):
        hits = int(part["correct"].sum())
        low, high = measured.wilson(hits, len(part))
        invalid = part.filter(status="invalid").height / len(part)
        share = hits / len(part)
        axes.barh(place, 100 * invalid, left=100 * (1 - invalid), height=0.5, color="#d8d8d8")
        axes.errorbar(100 * share, place, xerr=[[100 * (share - low)], [100 * (high - share)]], fmt="o",
                      color="#222222", capsize=3)  # fmt: skip
    axes.set(xlim=(0, 100), xlabel="% right, with 95 % interval (grey: no readable answer)", title="answers")


def _steps(axes: Axes, groups: Mapping[str, pl.DataFrame], kinds: Sequence[str]) -> None:
    colors = dict(zip([kind for kind in kinds if kind not in COLORS], _OTHERS * len(kinds), strict=False)) | COLORS
    left = [0.0] * len(groups)
    for kind in [*kinds, measured.UNTOLD]:
        means = [_mean_steps(part, kind) for part in groups.values()]
        if any(means):
            name = kind or ("no kind" if kinds else "steps")
            axes.barh(range(len(groups)), means, left=left, height=0.5, label=name, color=colors.get(kind, "#aaaaaa"))
            left = [a + b for a, b in zip(left, means, strict=True)]
    axes.set(xlabel="steps per answer", title="steps by the kind written before them", xlim=(0, None))
    if any(left):
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _mean_steps(part: pl.DataFrame, kind: str) -> float:
    return float((part["kinds"].explode().drop_nulls() == kind).sum() / len(part))
