"""The sections on control (steering) and on the inside (attention, neurons)."""

from collections.abc import Iterator
from typing import Any

import polars as pl
from runkit.page.charts import Dot, dots
from runkit.page.document import picture
from runkit.page.markup import Child, Markup, cell, element, note, prose, table
from runkit.page.numbers import NONE, count, listed, real, share, signed, span, spanned_share

from memreason import tables
from memreason.measured import wilson
from memreason.pages.evidence import Evidence, Probed, Steered
from memreason.pages.runs_read import figures
from memreason.steering.interventions import GROUP
from memreason.tables import columns
from memreason.trace import KINDS

_EACH = 10
_FIGURES = {
    "steering": "accuracy, and whether steps are as asked, by way of steering",
    "attention": "attention between classes of tokens, and how that compares with attention spread evenly",
    "heads": "attention to the type tokens by layer and head",
    "steps": "attention from step to step",
    "causes": "what becomes of a step when the tokens before it are ablated or swapped",
    "neurons": "how far neurons tell memory steps from reasoning steps, by layer",
}


def steering(evidence: Evidence) -> list[Markup]:
    """A row per way of steering, for every run of steer."""
    lead = (
        "The student is made to write kinds, kept from writing them, or given facts. Obeyed: labels as asked; meant: "
        "the step also does what the label says, by the exact checker; followed: answers that follow from a false fact."
    )
    parts: list[Markup] = [prose(lead)]
    for number, run in enumerate(evidence.steered):
        rows = [_intervention(row) for row in run.interventions.iter_rows(named=True)]
        head = ["steering", "accuracy", "accuracy", "95 %", "questions", "no answer", "obeyed", "meant", "followed"]
        parts += [element("h3", run.name), dots(rows, head, (0, 1), id=f"steering-{number}")]
        parts += _pictures(Probed(run.folder, run.name, None))
    return parts


def attention(run: Probed) -> list[Markup]:
    """The figures, and what the type tokens cause."""
    lead = (
        f"Of {run.name}, over all layers and heads. Attention is told beside what it would be if it were spread "
        "evenly, since brightness alone says little: early tokens can be seen from everywhere."
    )
    parts = [prose(lead), *_pictures(run)]
    if run.table is not None and len(run.table):
        rows = [_cause(row) for row in run.table.iter_rows(named=True)]
        head = ["type tokens", "step", "steps", "log p per token", "change", "95 %", "continued as the other kind"]
        parts += [element("h3", "What the type tokens cause"), table(head, rows, id="causes")]
    return parts


def neurons(run: Probed) -> list[Markup]:
    """The most selective neurons of each kind, with what other instruments say of them."""
    lead = (
        f"Of {run.name}. Of {_counted(run)}, after correction for many neurons. Listed with the sign in which they "
        "fire in such steps, high (+) or low (−)."
    )
    parts = [prose(lead)]
    for kind in KINDS:
        top = _selective(run, kind).head(_EACH)
        if len(top):
            rows = [_neuron(row) for row in top.iter_rows(named=True)]
            head = ["neuron", "AUROC", "95 % shuffled", "p", "label", "description"]
            parts += [
                element("h3", f"Strongest in {kind} steps"),
                table(head, rows, id=f"neurons-{kind}", class_="long"),
            ]
    words = (
        "AUROC: chance that the neuron is higher in a memory step than in a reasoning one. Shuffled: the same with "
        "kinds shuffled within each trace."
    )
    return [*parts, note(words), *_pictures(run)]


def control(run: Steered) -> Iterator[str]:
    """How often labels, and contents, are as asked, per way of steering over all questions."""
    whole = run.interventions.filter(pl.col("asked") > 0, ~pl.col("name").str.contains(GROUP, literal=True))
    for row in whole.iter_rows(named=True):
        meant = "" if row["meant"] is None else f" ({share(row['meant'] / row['asked'])})"
        yield f"{row['name']} {share(row['obeyed'] / row['asked'])}{meant}"


def _intervention(row: dict[str, Any]) -> Dot:
    told = [_of(row[name], row["asked"]) for name in ("obeyed", "meant")]
    cells: list[Child] = [
        share(row["accuracy"]), spanned_share(row["low"], row["high"]), f"{row['n']:,}", share(row["invalid"]), *told,
        _of(row["followed"], row["n"]),
    ]  # fmt: skip
    return Dot(row["name"], row["accuracy"], row["low"], row["high"], cells)


def _of(hits: int | None, n: int) -> Child:
    """84.0 % [75.1, 90.2] of 100; may break before the interval, so that three of them fit side by side."""
    if hits is None or n == 0:
        return NONE
    ends = element("small", f"{spanned_share(*wilson(hits, n))} of {n:,}")
    return [element("span", share(hits / n)), " ", ends]


def _cause(row: dict[str, Any]) -> list[Child]:
    told = [
        f"{row['n']:,}", real(row["logp"]), signed(row["change"]), span(row["low"], row["high"]), share(row["flipped"])
    ]  # fmt: skip
    return [row["edit"], row["kind"], *(cell(each, class_="num") for each in told)]


def _neuron(row: dict[str, Any]) -> list[Child]:
    name = element("code", f"{row['layer']}.{row['neuron']}{row['polarity']}")
    p = "< 0.001" if row["p"] < 0.001 else f"{row['p']:.3f}"
    told = [real(row["auroc"]), span(row["null_low"], row["null_high"]), p]
    return [name, *(cell(each, class_="num") for each in told), row["label"] or NONE, row["description"] or NONE]


def _pictures(run: Probed) -> list[Markup]:
    return [picture(png, f"{run.name}: {_FIGURES.get(name, name)}.") for name, png in figures(run.folder).items()]


def selective(run: Probed) -> str:
    """How many neurons are selective, in a sentence."""
    return f"Inside: of {_counted(run)}."


def _counted(run: Probed) -> str:
    """Each neuron once, by its activation as it is."""
    plain = _table(run).filter(polarity="+")
    told = [f"{len(plain.filter(selective=kind)):,} are higher in {kind} steps" for kind in KINDS]
    return f"{count(len(plain), 'neuron')}, {listed(told)}"


def _selective(run: Probed, kind: str) -> pl.DataFrame:
    """Neurons that fire in this kind of step, and more than in the other; the clearest first.

    A neuron that is high in memory steps is, told in the other sign, low in reasoning steps: such rows are left out.
    """
    found = _table(run).filter(pl.col("selective") == kind, pl.col(kind) > 0)
    return found.sort("auroc", descending=kind == "memory", maintain_order=True)


def _table(run: Probed) -> pl.DataFrame:
    return run.table if run.table is not None else pl.DataFrame(schema=columns(tables.Neurons))
