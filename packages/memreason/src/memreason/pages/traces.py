"""The section of traces: what was said, coloured by the kind that each step was given."""

import hashlib
from collections.abc import Iterator
from typing import Any

import polars as pl
from runkit.page.markup import Markup, element, filters, note, prose
from runkit.page.numbers import listed

from memreason.pages.evidence import Evidence
from memreason.pages.runs_read import Evaluated, Place, Setting
from memreason.trace import KINDS

_DOES = {"memory": "states a fact", "reason": "concludes", "other": "cannot be read"}
_FALSE = {"memory": "false", "reason": "does not follow"}
_BLAME = {"memory": "memory failed", "reason": "reasoning failed", "format": "no usable form", "none": "nothing wrong"}

_CHOICES = {
    "arm": "every arm",
    "outcome": "right and wrong",
    "kinds": "every kind of step",
    "blame": "whatever failed",
}


def traces(evidence: Evidence, most: int) -> list[Markup]:
    """At most so many answers of each setting, by its first run on the questions: half wrong, where there are such."""
    cards = [
        _card(setting, row, evidence, run)
        for setting in evidence.settings
        for run in _first(setting)
        for row in _chosen(run.answers, most).iter_rows(named=True)
    ]
    legend = element("p", (element("span", kind, class_=f"kind {kind}") for kind in (*KINDS, "other")), class_="legend")
    lead = "Drawn by question, so that arms show much the same ones; half are wrong, where there are so many."
    words = (
        "Colours: the kind that the model wrote before the step. A wavy line: the exact checker says that the step is "
        "false, or does not follow. Where what a step does is not what it is called, that is said behind it."
    )
    return [prose(lead), legend, note(words), element("div", cards, class_="traces", data_filters=filters(_CHOICES))]


def _first(setting: Setting) -> Iterator[Evaluated]:
    """The runs that were asked what none before them was."""
    known: set[Place] = set()
    for run in setting.runs:
        if not known.issuperset(run.places):
            yield run
        known.update(run.places)


def _chosen(answers: pl.DataFrame, most: int) -> pl.DataFrame:
    drawn = answers.with_columns(
        at=pl.Series([hashlib.sha256(name.encode()).hexdigest() for name in answers["id"]])
    ).sort("at")
    wrong, right = (drawn.filter(correct=fine) for fine in (False, True))
    half = max(most // 2, most - len(right))
    kept = wrong.head(half)
    return pl.concat([kept, right.head(most - len(kept))]).sort("at").drop("at")


def _card(setting: Setting, row: dict[str, Any], evidence: Evidence, run: Evaluated) -> Markup:
    verdicts = _verdicts(run, row["id"])
    blame = _blame(evidence, run, row["id"])
    outcome = "right" if row["correct"] else "wrong" if row["answer"] is not None else "no answer"
    steps = [
        _step(kind, text, verdicts.get(i))
        for i, (kind, text) in enumerate(zip(row["kinds"], row["texts"], strict=True), 1)
    ]
    said = row["answer"] if row["answer"] is not None else "(none that can be read)"
    told = [] if row["correct"] else [element("small", f" right: {row['gold']}")]
    head = element("h3", setting.name, " ", element("small", f"{row['dataset']} {row['split']}, {row['id']}"))
    marks = [element("span", outcome, class_=f"outcome {outcome.replace(' ', '-')}")]
    marks += [element("span", f"{who}: {what}", class_="outcome") for who, what in blame]
    return element(
        "article", head, element("p", row["question"], class_="asked"), element("ol", steps),
        element("p", element("b", "The answer is: "), said, *told, class_="answer"),
        element("p", marks, class_="marks"),
        [note("Form: ", listed(row["problems"]))] if row["problems"] else [],
        class_="trace", data_arm=setting.name, data_outcome=outcome,
        data_kinds="|".join(sorted({kind or "not labelled" for kind in row["kinds"]})),
        data_blame="|".join(dict.fromkeys(what.partition(" in step")[0] for _, what in blame)),
    )  # fmt: skip


def _step(kind: str, text: str, verdict: dict[str, Any] | None) -> Markup:
    shade = kind if kind in KINDS else "other"
    told: list[Markup] = []
    wrong = verdict is not None and verdict["true"] is False
    if verdict is not None and kind in KINDS and verdict["content"] != kind:
        told.append(element("small", f" {_DOES[verdict['content']]}"))
    if wrong and verdict is not None:
        told.append(element("small", f" {_FALSE[verdict['content']]}", class_="fault"))
    badge = [element("span", kind, class_=f"kind {shade}"), " "] if kind else []
    return element("li", badge, element("span", text, class_="false" if wrong else None), *told, class_=shade)


def _verdicts(run: Evaluated, name: str) -> dict[int, dict[str, Any]]:
    if run.checked is None:
        return {}
    return {row["step"]: row for row in run.checked.filter(id=name).iter_rows(named=True)}


def _blame(evidence: Evidence, run: Evaluated, name: str) -> list[tuple[str, str]]:
    """Who blames what for this answer."""
    rows = [
        row
        for each in evidence.blamed
        if each.of is not None and each.of.folder == run.folder
        for row in each.blame.filter(id=name, status="ok").iter_rows(named=True)
    ]
    return [(row["judge"], _BLAME[row["blame"]] + (f" in step {row['step']}" if row["step"] else "")) for row in rows]
