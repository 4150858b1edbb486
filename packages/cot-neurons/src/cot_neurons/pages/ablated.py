"""The section on ablation: what breaks without a concept's neurons, against control draws of other neurons."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import polars as pl
from runkit.page.charts import Dot, dots, scale_of
from runkit.page.frames import number, unique, value
from runkit.page.markup import Child, Markup, cell, element, note, prose, table
from runkit.page.numbers import NONE, count, listed, signed, span

from cot_neurons.ablation.cases import OPERATOR_OF
from cot_neurons.pages.evidence import Ablation
from cot_neurons.tags import KINDS

HURT = 0.95
"""Share of random draws that the target must hurt more than, to be marked."""
_GROUPS = {
    "written": ("What it writes", "shares"),
    "logp": ("Log-probabilities", "nats"),
    "odds": ("Log-odds", "nats"),
    "perplexity": ("Perplexity of other text", "perplexity"),
}
_SIGNS = [kind for kind in KINDS if len(kind) == 1]


def ablation(run: Ablation, place: int) -> list[Markup]:
    """Changes by concept and metric, and for each concept the control draws. `place` counts the runs on the page."""
    lead = (
        f"Mode “{run.mode}”. Each concept’s neurons are intervened on while the model answers, and so are control "
        f"draws ({', '.join(run.controls)}). Numbers are changes against the whole model; bold: worse than at least "
        f"{100 * HURT:.0f} % of the draws of each kind ({_fair(run)}). {_basis(run)} Further down, what nothing "
        "changed is left out."
    )
    explained = (
        "Solved: equations of the reference solution that the model writes, true. True: equations it writes that hold. "
        "Log-probabilities and log-odds: with every token of the reference solution in its place, per equation (from "
        "operator to result), per stated answer, per other token; log-odds still move where a model is sure. Below, "
        f"beats: the share of {' / '.join(run.controls)} draws that hurt less, in percent."
    )
    return [
        prose(lead),
        *(part for group in _GROUPS for part in _matrix(run, group, place)),
        note(explained),
        element("div", _panels(run, place), class_="panels wide"),
    ]


def _basis(run: Ablation) -> str:
    """How many draws and cases the numbers rest on."""
    drawn = run.tests.group_by("concept", "control").agg(pl.col("draws").max())["draws"]
    cases = run.effects.filter(kind="baseline").group_by("n", maintain_order=True).agg("metric")
    told = "; ".join(f"{n} for {', '.join(metrics)}" for n, metrics in cases.iter_rows())
    low, high = drawn.min(), drawn.max()
    return f"Draws of each kind: {low if low == high else f'{low} to {high}'}. Problems or texts: {told}."


def group_of(metric: str) -> str:
    """What a metric is counted in: shares of what is written, log-probabilities, log-odds, or perplexity."""
    if metric == "perplexity":
        return metric
    return next((each for each in ("logp", "odds") if each in metric), "written")


def _matrix(run: Ablation, group: str, place: int) -> list[Markup]:
    metrics = [each for each in unique(run.effects.filter(kind="target"), "metric") if group_of(each) == group]
    title, unit = _GROUPS[group]
    rows = list(_changes(run, metrics))
    made = table(["concept", "neurons", *metrics], rows, id=f"ablation-{place}-{group}")
    return [element("h3", f"{title}, change in {unit}"), made] if metrics else []


def _changes(run: Ablation, metrics: Sequence[str]) -> Iterator[list[Child]]:
    """A row per concept and amount, a cell per metric."""
    key = ["condition", "concept", "amount"]
    for (condition, concept, amount), rows in run.effects.filter(kind="target").group_by(key, maintain_order=True):
        beaten = dict(run.beaten.filter(concept=concept, amount=amount).select("metric", "beaten").iter_rows())
        changes = dict(rows.select("metric", "change").iter_rows())
        neurons = run.conditions.filter(condition=condition)["neurons"].list.len().to_list()
        cells = (_change(changes.get(each), beaten.get(each)) for each in metrics)
        yield [f"{concept} × {amount:g}" if _has_doses(run) else concept, *neurons, *cells]


def _change(change: float | None, beaten: float | None) -> Markup:
    hit = beaten is not None and beaten >= HURT
    return cell(element("strong", signed(change)) if hit else signed(change), class_="num hit" if hit else "num")


def _panels(run: Ablation, place: int) -> Iterator[Markup]:
    """For each concept and amount what is written, and how likely: by log-odds where they were measured."""
    target = run.effects.filter(kind="target").drop_nulls("change")
    shown = ("written", "odds" if any(group_of(each) == "odds" for each in unique(target, "metric")) else "logp")
    for (concept, amount), of_it in target.group_by("concept", "amount", maintain_order=True):
        drawn = run.effects.filter(concept=concept, amount=amount, kind=run.control).drop_nulls("change")
        tests = run.tests.filter(concept=concept, amount=amount)
        moved = {*of_it.filter(pl.col("change") != 0)["metric"], *drawn.filter(pl.col("change") != 0)["metric"]}
        for group in shown:
            rows = [_against(row, drawn, tests, run.controls) for row in of_it.iter_rows(named=True)
                    if row["metric"] in moved and group_of(row["metric"]) == group]  # fmt: skip
            if rows:
                what = f"{run.mode} × {amount:g}; {_GROUPS[group][0].lower()}"
                title = element("h3", concept, " ", element("small", what))
                head = ["metric", f"◆ target, · {run.control} draws", "target", "95 %", "worst draw", "beats, %"]
                key = f"ablated-{place}-{concept}-{amount:g}-{group}"
                yield element("article", title, dots(rows, head, scale_of(rows), id=key))


def _against(row: dict[str, Any], drawn: pl.DataFrame, tests: pl.DataFrame, controls: Sequence[str]) -> Dot:
    change, low, high = (number(row[name]) for name in ("change", "low", "high"))
    held = [tests.filter(metric=row["metric"], control=control) for control in controls]
    cells = [signed(change), span(low, high), signed(value(held[0], "control_worst") if held else None)]
    cells.append(" / ".join(_percent(value(each, "worse_than")) for each in held))
    return Dot(row["metric"], change, low, high, cells, drawn.filter(metric=row["metric"])["change"].to_list())


def _percent(beaten: float | None) -> str:
    """A share of draws, in whole percent: draws are few."""
    return NONE if beaten is None else f"{100 * beaten:.0f}"


def _fair(run: Ablation) -> str:
    return listed([each for each in run.controls if each != "other"] or run.controls)


def solved(run: Ablation, concept: str, amount: float) -> str:
    """What ablation took from the equations solved, by operator, beside the mean of the control draws; else empty."""
    tests = run.tests.filter(concept=concept, amount=amount, control=run.control)
    found = tests.filter(pl.col("metric").str.starts_with("solved ")).drop_nulls("change")
    told = [
        f"{metric.removeprefix('solved ')} {signed(change)} ({signed(drawn)})"
        for metric, change, drawn in found.select("metric", "change", "control_mean").iter_rows()
    ]
    return f"equations solved ({run.control} draws): {', '.join(told)}" if told else ""


def hurt(run: Ablation) -> Iterator[str]:
    """Which operators' neurons hurt just their own operator's equations, in sentences; none where none is known."""
    for measure, what in (("solved", "equations solved"), ("odds", "log-odds of equations")):
        concepts = [each for each in unique(run.beaten, "concept") if each in OPERATOR_OF]
        worst = [found for concept in concepts if (found := _own(run, concept, measure))]
        told = [each.told for each in worst if each.specific]
        if worst:
            yield (
                f"Mode {run.mode}, {what}: for {len(told)} of {count(len(worst), 'operator')} the concept’s neurons "
                f"hurt their own operator more than at least {100 * HURT:.0f} % of {_fair(run)} draws do, and more "
                f"than any other operator{': ' if told else ''}{', '.join(told)}."
            )


class _Own(NamedTuple):
    """What a concept's neurons do to their own operator where they do most, and whether to it above all."""

    told: str
    specific: bool


def _own(run: Ablation, concept: str, measure: str) -> _Own | None:
    mine = f"{measure} {OPERATOR_OF[concept]}"
    tests = run.beaten.filter(concept=concept).drop_nulls("change")
    best = tests.filter(metric=mine).sort("change").head(1)
    if best.is_empty():
        return None
    amount, change, beaten = best.select("amount", "change", "beaten").row(0)
    rest = tests.filter(
        pl.col("metric").is_in([f"{measure} {sign}" for sign in _SIGNS]), pl.col("metric") != mine, amount=amount
    )["change"].to_list()
    dose = f" × {amount:g}" if _has_doses(run) else ""
    others = f" (others {', '.join(signed(each) for each in rest)})" if rest else ""
    specific = change < 0 and (beaten or 0) >= HURT and all(change < each for each in rest)
    return _Own(f"{concept}{dose} {signed(change)}{others}", specific)


def _has_doses(run: Ablation) -> bool:
    return run.tests["amount"].n_unique() > 1
