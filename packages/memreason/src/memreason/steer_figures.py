"""What `steer` draws: answers and obedience under each way of steering."""

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from memreason.steering.interventions import GROUP, NONE

_LABEL, _CONTENT, _FOLLOWED = "#b9cbe0", "#3f6ea3", "#c94341"


def steering(table: pl.DataFrame) -> Figure:
    """Accuracy with its 95 % interval, and the shares of demands that labels and contents meet.

    `table`: of `tables.Interventions`.
    """
    figure = Figure(figsize=(11, 1.8 + 0.4 * len(table)), layout="constrained")
    accuracy, obeyed = figure.subplots(1, 2, sharey=True)
    _accuracy(accuracy, table)
    _obeyed(obeyed, table)
    names = [f"{name} ({n:,})" for name, n in table.select("name", "n").iter_rows()]
    accuracy.set_yticks(range(len(names)), names)
    accuracy.set_ylim(len(names) - 0.4, -0.6)
    for axes in (accuracy, obeyed):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _accuracy(axes: Axes, table: pl.DataFrame) -> None:
    share, low, high = (100 * table[name].to_numpy() for name in ("accuracy", "low", "high"))
    known = dict(table.select("name", "accuracy").iter_rows())
    plain = [100 * known[name.replace(name.partition(GROUP)[0], NONE, 1)] for name in known]
    places = range(len(table))
    axes.plot(plain, places, "|", color="#999999", markersize=14, markeredgewidth=2)
    axes.errorbar(share, places, xerr=[share - low, high - share], fmt="o", color="#222222", capsize=3)
    axes.set(xlim=(0, 100), xlabel="% right, with 95 % interval (grey: not steered)", title="answers")


def _obeyed(axes: Axes, table: pl.DataFrame) -> None:
    asked = table.with_row_index("place").filter(pl.col("asked") > 0)
    label = axes.barh(asked["place"], 100 * asked["obeyed"] / asked["asked"], height=0.6, color=_LABEL)
    known = asked.filter(pl.col("meant").is_not_null())
    content = axes.barh(known["place"], 100 * known["meant"] / known["asked"], height=0.3, color=_CONTENT)
    misled = asked.filter(pl.col("followed").is_not_null())
    followed = axes.plot(100 * misled["followed"] / misled["n"], misled["place"], "D", color=_FOLLOWED,
                         markeredgecolor="white", markersize=7)  # fmt: skip
    told = [(label, "by their labels")]
    told += [(content, "and by their contents")] if len(known) else []
    told += [(followed[0], "answers that follow the false fact")] if len(misled) else []
    axes.legend(*zip(*told, strict=True), frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes.set(xlim=(0, 100), xlabel="% of demands met", title="obedience")
