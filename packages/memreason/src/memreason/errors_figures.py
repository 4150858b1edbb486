"""What `errors` draws: what wrong answers are blamed on, and whether steps are what their labels say."""

from collections.abc import Callable, Mapping

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from memreason.judging.shares import Share, blamed, kept

COLORS = {"memory": "#3f6ea3", "reason": "#c94341", "format": "#7d7874", "none": "#b9b2ad"}
_NAMES = {"format": "no usable form", "none": "nothing wrong"}
_LONGEST = 36
_Shares = Callable[[pl.DataFrame], dict[str, Share]]


def errors(blame: pl.DataFrame, decoupling: pl.DataFrame, answers: pl.DataFrame) -> Figure:
    """Two panels, a group of bars per dataset, split and judge, with 95 % intervals.

    Left: share of wrong answers by what went wrong first. Right: share of memory steps that state a fact and of
    reasoning steps that infer. Arguments: `tables.Blame`, `tables.Decoupling`, `tables.Answers`.
    """
    left, right = (_groups(frame, answers, shares) for frame, shares in ((blame, blamed), (decoupling, kept)))
    figure = Figure(figsize=(11, 1.6 + 0.95 * max(len(left), len(right), 1)), layout="constrained")
    panels = figure.subplots(1, 2)
    _panel(panels[0], left, "What went wrong first", "% of wrong answers", "no wrong answers")
    _panel(panels[1], right, "Steps that are what they are called", "% of steps", "no steps labelled memory or reason")
    named = [name for name in COLORS if any(name in shares for shares in (*left.values(), *right.values()))]
    handles = [panels[0].plot([], [], "o-", color=COLORS[name])[0] for name in named]
    if named:
        labels = [_NAMES.get(name, name) for name in named]
        figure.legend(handles, labels, loc="outside lower center", ncols=len(named), frameon=False)
    return figure


def _groups(frame: pl.DataFrame, answers: pl.DataFrame, shares: _Shares) -> dict[str, dict[str, Share]]:
    """Shares by where and by whom; groups in which nothing was counted are left out."""
    placed = frame.join(answers.select("id", "arm", "dataset", "split"), on="id", maintain_order="left")
    groups = placed.group_by("dataset", "split", "arm", "judge", maintain_order=True)
    named = {
        f"{_short(f'{dataset} {split}, {arm}')}\n{_short(judge)}": shares(rows)
        for (dataset, split, arm, judge), rows in groups
    }
    return {name: found for name, found in named.items() if found}


def _short(name: object) -> str:
    """The end of a long name, such as a folder's."""
    text = str(name)
    return text if len(text) <= _LONGEST else f"…{text[1 - _LONGEST :]}"


def _panel(axes: Axes, groups: Mapping[str, Mapping[str, Share]], title: str, across: str, nothing: str) -> None:
    axes.set(title=title, xlabel=across, xlim=(0, 100))
    axes.spines[["top", "right"]].set_visible(False)
    if not groups:
        axes.set_yticks([])
        axes.text(0.5, 0.5, nothing, transform=axes.transAxes, ha="center", color="#7d7874")
        return
    for place, shares in enumerate(groups.values()):
        for shift, (name, share) in zip(_shifts(len(shares)), shares.items(), strict=True):
            axes.plot([100 * share.low, 100 * share.high], [place + shift] * 2, color=COLORS[name], lw=2, alpha=0.6)
            axes.plot(100 * share.value, place + shift, "o", color=COLORS[name], ms=6, clip_on=False)
            axes.annotate(
                f"{share.hits}/{share.n}", (100 * share.high, place + shift), xytext=(5, 0), fontsize=8,
                textcoords="offset points", va="center", color=COLORS[name], annotation_clip=False,
            )  # fmt: skip
    names = [name.replace("$", r"\$") for name in groups]
    axes.set_yticks(range(len(groups)), names)
    axes.set_ylim(len(groups) - 0.5, -0.5)


def _shifts(count: int) -> list[float]:
    """How far beside the group's place each of its bars stands."""
    return [0.2 * (i - (count - 1) / 2) for i in range(count)]
