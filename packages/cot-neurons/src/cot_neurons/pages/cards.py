"""Neuron cards: what a neuron promotes and suppresses, where it was strongest, and what is known of its concept."""

from collections.abc import Iterator
from typing import Any

import polars as pl
from runkit.page.markup import Markup, element, filters, prose
from runkit.page.numbers import count, real, share, signed, span

from cot_neurons.pages.ablated import solved
from cot_neurons.pages.contexts import Context, Pole, contexts
from cot_neurons.pages.evidence import POLE, Evidence
from cot_neurons.pages.found import chips, code

_EACH = 6
_MOST = 80
_TOKENS = 10
_CHOICES = {"topics": "every topic", "layer": "every layer"}


def chosen(evidence: Evidence) -> pl.DataFrame:
    """The neurons that get a card: of each topic those that fit it best, with all of their topics."""
    topics = evidence.topics.join(evidence.neurons.select(POLE), on=POLE, how="semi", maintain_order="left")
    best = topics.sort("topic", maintain_order=True).group_by("topic", maintain_order=True).head(_EACH)
    best = best.select(POLE).unique(maintain_order=True).head(_MOST)
    every = topics.group_by(POLE, maintain_order=True).agg("topic", pl.col("score"))
    return best.join(every, on=POLE, how="left", maintain_order="left")


def cards(evidence: Evidence) -> list[Markup]:
    """The cards, by concept and score."""
    shown = chosen(evidence)
    if shown.is_empty():
        return [prose("No neuron has a label.")]
    places = contexts(evidence.activations, evidence.steps, shown)
    known = {_pole(row): row for row in evidence.neurons.join(shown, on=POLE, how="semi").iter_rows(named=True)}
    every = evidence.topics.select(POLE).n_unique()
    lead = (
        f"{len(shown):,} of {count(every, 'neuron')}: for each {evidence.topic} the {_EACH} that fit it best. Contexts "
        "are the places in the chains where the neuron was strongest: the marked token was written there."
    )
    body = [_card(evidence, row, known[_pole(row)], places.get(_pole(row), [])) for row in shown.iter_rows(named=True)]
    return [prose(lead), element("div", body, class_="cards", data_filters=filters(_CHOICES))]


def _card(evidence: Evidence, row: dict[str, Any], neuron: dict[str, Any], places: list[Context]) -> Markup:
    topics = [f"{topic} ({real(score)})" for topic, score in zip(row["topic"], row["score"], strict=True)]
    facts = [("kept at", f"{share(neuron['hit_rate'])} of tokens, most telling for “{neuron['focus']}”")]
    facts += [
        *_labelled(evidence, row),
        *_attributed(evidence, row),
        *_of_concepts(evidence, row["topic"], f"L{row['layer']}N{row['neuron']}"),
    ]
    return element(
        "article",
        element("h3", code(neuron), " ", element("small", ", ".join(topics))),
        element("p", element("span", "promotes ", class_="pole"), chips(neuron["promotes"], most=_TOKENS)),
        element("p", element("span", "suppresses ", class_="pole"), chips(neuron["suppresses"], "less", most=_TOKENS)),
        element("ul", (_place(each) for each in places), class_="contexts"),
        element("dl", ((element("dt", name), element("dd", told)) for name, told in facts)),
        class_="card", data_topics="|".join(row["topic"]), data_layer=row["layer"],
    )  # fmt: skip


def _place(place: Context) -> Markup:
    words = element("span", place.before, element("mark", place.token), place.after, class_="chain")
    return element("li", words, element("small", f" {signed(place.score, 1)} · item {place.row}"))


def _labelled(evidence: Evidence, row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if evidence.labelling is None:
        return
    labels = evidence.labelling.labels.filter(layer=row["layer"], neuron=row["neuron"], polarity=row["polarity"])
    for label in labels.drop_nulls("auroc").iter_rows(named=True):
        ends = span(label["auroc_low"], label["auroc_high"])
        told = f"AUROC {real(label['auroc'])} {ends}, specific {real(label['specific_auroc'])}"
        yield f"{label['concept']}, {label['judge']}", told


def _attributed(evidence: Evidence, row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if evidence.attribution is None:
        return
    pole = {name: row[name] for name in POLE}
    found = evidence.attribution[0].filter(group="all", **pole)
    if len(found):
        best = found.row(int(found["logit"].abs().arg_max() or 0), named=True)
        told = f"{signed(best['logit'])} logits to “{best['kind']}”, where it does most ({best['group']} items)"
        yield "attribution", told


def _of_concepts(evidence: Evidence, topics: list[str], name: str) -> Iterator[tuple[str, str]]:
    """What is known of a neuron's concepts as a whole: how active they are, and what ablating them changes."""
    if evidence.activity is not None:
        whole = evidence.activity[0].filter(tag="all", group="all")
        whole = whole.sort("accuracy", "variant", descending=[True, False])
        for topic in topics:
            values = whole.filter(concept=topic).select("variant", "active").iter_rows()
            if shown := " · ".join(f"{variant} {real(active)}" for variant, active in values):
                yield f"{topic} active per token", shown
    for run in evidence.ablations:
        done = run.tests.filter(pl.col("concept").is_in(topics)).select("concept", "amount").unique(maintain_order=True)
        for topic, amount in done.iter_rows():
            if name in run.touched(topic) and (told := solved(run, topic, amount)):
                yield f"{topic} ablated ({run.mode} × {amount:g}), this neuron among them", told


def _pole(row: dict[str, Any]) -> Pole:
    return row["layer"], row["neuron"], row["polarity"]
