"""The page: what the questions come to, each with its numbers, then the neurons themselves, to search."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import polars as pl
from runkit.page import document
from runkit.page.charts import Dot, dots, scale_of
from runkit.page.document import Section
from runkit.page.frames import unique
from runkit.page.markup import Child, Markup, cell, element, note, prose, table
from runkit.page.numbers import listed, real, share, signed, span, spanned_share
from runkit.page.sources import Made

from reasonscope.neurons.found import STAGES, Model
from reasonscope.neurons.listing import STYLE, listing
from reasonscope.neurons.questions import ARITHMETIC, DECOY, EVERY

SURE, LEAST = 0.05, 0.001
_WAYS = {
    "described": ("By the words of the description", "have a description that names it"),
    "peaks": (
        "By the tokens at the peaks of exemplars",
        "have its tokens at the peaks of at least half their exemplars",
    ),
    "next": ("By the tokens right after the peaks", "have them right after the peaks"),
}
_ONSETS = {"known": "What they fire on", "writes": "What they write"}
_TELLS = {
    "hits": "discover", "concepts": "label", "ablated_for": "ablate", "attribution_kind": "attribute",
    "description": "score", "peaks": "exemplars", "selective": "neurons", "emerged": "emerge",
}  # fmt: skip
"""A column that is known where this stage tells of a neuron."""


class Told(NamedTuple):
    """What the page tells: the tables, the picture if there is one, the options that name no run and why, the runs."""

    model: Model
    neurons: pl.DataFrame
    answers: pl.DataFrame
    confusion: pl.DataFrame
    picture: bytes | None
    missing: Mapping[str, str]
    made: Sequence[Made]

    def of(self, question: str) -> pl.DataFrame:
        """The answers to a question."""
        return self.answers.filter(pl.col("question") == question)

    def beginning(self, question: str) -> pl.DataFrame:
        """The answers to all questions that begin so."""
        return self.answers.filter(pl.col("question").str.starts_with(question))


def page(told: Told) -> str:
    """The whole page."""
    return document.page(
        f"The neurons of {told.model.name}", "An atlas: what four instruments say of the same neurons", short(told),
        list(_sections(told)), style=STYLE,
    )  # fmt: skip


def short(told: Told) -> Iterator[str]:
    """The findings in a sentence each."""
    yield from _unlabelled(told)
    yield from _matched(told)
    yield from _causal(told)
    yield from _overlapping(told)
    yield from (f"When in training: {each}" for each in told.of("emerged, known")["said"])


def _unlabelled(told: Told) -> Iterator[str]:
    labels = pl.col("concepts").list.set_intersection(list(ARITHMETIC)).list.len() > 0
    if told.neurons.filter(labels).is_empty():
        why = f" ({_why(told, 'labels')})" if "labels" in told.missing else ""
        yield (
            f"No neuron is labelled with an operator{why}, so nothing is said of whether descriptions agree with "
            "labels, of what labelled neurons carry, and of whether they are those that fire in recalling."
        )


def _matched(told: Told) -> Iterator[str]:
    labels, parts = 0, []
    for question, (_, what) in _WAYS.items():
        rows = told.of(question).filter(pl.col("n") > 0)
        if len(rows):
            sums = [pl.sum("n"), *((pl.col(each) * pl.col("n")).sum() for each in ("value", "null"))]
            labels, found, chance = rows.select(sums).row(0)
            parts.append(f"{found:,.0f} {what} ({real(chance, 1)} by chance; more than that: {_beyond(rows)})")
    if parts:
        yield f"Of {labels:,} labels that name an operator, {listed(parts)}."


def _beyond(rows: pl.DataFrame) -> str:
    sure = rows.filter(pl.col("q") < SURE, pl.col("value") > pl.col("null"))["about"].to_list()
    return listed(sure) or "none"


def _causal(told: Told) -> Iterator[str]:
    rows = told.of("ablated")
    if len(rows):
        told_of = rows.select("about", "value", "p").iter_rows()
        changes = [f"{about} {signed(value)} ({_p('p', p)})" for about, value, p in told_of]
        own = rows.filter(pl.col("said").str.contains(": its own most", literal=True))["about"].to_list()
        yield (
            f"Ablated, labelled neurons change the log-odds of their own operator’s equations, against control draws: "
            f"{listed(changes)}. Their own more than any other’s: {listed(own) or 'none'}."
        )


def _overlapping(told: Told) -> Iterator[str]:
    rows = told.beginning("overlap").filter(pl.col("about") == EVERY, pl.col("n") > 0)
    for row in rows.iter_rows(named=True):
        verdict = _verdict(row["value"], row["null"], row["q"])
        yield f"{row['said'][:1].upper()}{row['said'][1:]} {verdict} {_COINCIDE}"


_COINCIDE = (
    "Kind and topic coincide where no trace has both kinds of step, as in the questions that ship with the project."
)


def _verdict(value: float | None, null: float | None, q: float | None) -> str:
    if value is None or null is None or q is None:
        return ""
    if q >= SURE:
        return f"No more and no less than chance ({_p('q', q)})."
    return f"{'More' if value > null else 'Fewer'} than chance ({_p('q', q)})."


def _sections(told: Told) -> Iterator[Section]:
    yield Section("known", "What is known of them", _known(told))
    yield Section("described", "Do labels and descriptions agree?", _described(told))
    yield Section("causal", "Do they carry it?", [*_ablated(told), *_carried(told)])
    yield Section("overlap", "Are arithmetic neurons memory neurons?", _overlap(told))
    yield Section("emerged", "When in training they became what they are", _emerged(told))
    yield Section("neurons", "The neurons", listing(told.neurons))
    yield Section("made", "How this page was made", document.made(told.made))


def _known(told: Told) -> list[Markup]:
    """How many neurons each source tells of."""
    model, neurons = told.model, told.neurons
    whole = 2 * model.layers * model.neurons
    rows = [
        [stage, f"{neurons[name].count():,}", share(neurons[name].count() / whole)] for name, stage in _TELLS.items()
    ]
    lead = (
        f"{model.name} has {model.layers} layers of {model.neurons:,} neurons; each may fire high (+) or low (−), and "
        "both are told apart: a row each."
    )
    out = [element("p", f"Left out: {_why(told, name)}.", class_="absent") for name in told.missing]
    drawn = [] if told.picture is None else [document.picture(told.picture, _PICTURE)]
    return [prose(lead), table(["stage", "tells of", "share"], rows, id="known-table"), *out, *drawn]


_PICTURE = (
    "Labels against descriptions, and against kinds of steps: what was found (bars, with 95 % intervals) and what "
    "chance gives (lines)."
)


def _why(told: Told, option: str) -> str:
    return f"{STAGES[option].replace('.', ' ')} (--{option}): {told.missing[option]}"


def _described(told: Told) -> list[Markup]:
    lead = (
        "A label says what a neuron promotes; a description says what it fires on. For each operator: of the neurons "
        "labelled so, the share described so, and what a permutation within layers and polarities gives. Neurons that "
        "promote a token fire where it is about to come, so that the token should stand right after their peaks."
    )
    parts: list[Markup] = [prose(lead)]
    for question, (title, _) in _WAYS.items():
        rows = told.of(question)
        parts += [element("h3", title), _shares(rows, question)] if rows["n"].sum() else []
    if len(parts) == 1:
        return _absent("neurons that are labelled with an operator, and descriptions of them")
    words = (
        "Words: each concept’s own tokens, their plurals, and forms such as “addition”; of a description only what it "
        "says the neuron fires on."
    )
    return [
        *parts,
        note(_EXPLAINED),
        element("h3", "What descriptions are about, by label"),
        _confused(told.confusion),
        note(words),
    ]


_EXPLAINED = (
    "Diamond: share found, with the exact 95 % interval of a common odds ratio (Gart 1970); dot: chance. q: two-sided "
    "p, adjusted over the rows of the table (Benjamini & Hochberg). Only neurons that label looked at count."
)


def _shares(rows: pl.DataFrame, key: str) -> Markup:
    made = [
        Dot(row["about"], row["value"], row["low"], row["high"],
            [f"{row['n']:,}", share(row["value"]), spanned_share(row["low"], row["high"]), share(row["null"]),
             _rate(row["q"])], [] if row["null"] is None else [row["null"]])
        for row in rows.iter_rows(named=True)
    ]  # fmt: skip
    return dots(
        made, ["labelled", "share", "neurons", "share", "95 %", "chance", "q"], scale_of(made), id=f"shares-{key}"
    )


def _confused(confusion: pl.DataFrame) -> Markup:
    """Rows: labels; columns: what the description is about."""
    names = unique(confusion, "about")
    rows: list[list[Child]] = []
    for (label, n), own in confusion.group_by("labelled", "n", maintain_order=True):
        shares = dict(own.select("about", "share").iter_rows())
        cells = [cell(share(shares[each]), style=f"--part:{shares[each] or 0:.3f}") for each in names]
        rows.append([str(label) or "no label", f"{n:,}", *cells])
    head = ["random sets" if each == DECOY else each for each in names]
    return table(["labelled", "neurons", *head], rows, class_="heat", id="confusion")


def _ablated(told: Told) -> list[Markup]:
    rows = told.of("ablated")
    if rows.is_empty() and "ablations" in told.missing:
        return [element("p", f"Left out: {_why(told, 'ablations')}.", class_="absent")]
    if rows.is_empty():
        return _absent("ablations of neurons that are labelled with an operator")
    made = [
        Dot(row["about"], row["value"], row["low"], row["high"],
            [f"{row['n']:,}", signed(row["value"]), span(row["low"], row["high"]), signed(row["null"]), _rate(row["p"]),
             _rate(row["q"])], [row["null"]])
        for row in rows.iter_rows(named=True)
    ]  # fmt: skip
    head = ["ablated", "change of log-odds", "neurons", "change", "95 %", "controls, mean", "p", "q"]
    explained = (
        "Change of the log-odds (nats) of the equations of the concept’s own operator, when its neurons are intervened "
        "on; dot: mean of the control draws that hurt most. p: the share of these draws that hurt at least as much, "
        "the target counted as one of them; 20 draws reach 0.048 at the least."
    )
    return [dots(made, head, scale_of(made), id="ablated"), note(explained), _said(rows)]


def _carried(told: Told) -> list[Markup]:
    rows = told.beginning("carried")
    title = element("h3", "Do those with a matching description write more of it?")
    if rows.is_empty():
        why = "No concept has three neurons with and three without a matching description whose attribution is known."
        return [title, element("p", why, class_="absent")]
    made = [
        [f"{row['about']}, {row['question'].removeprefix('carried, ')}", f"{row['n']:,}", signed(row["value"]),
         signed(row["null"]), span(row["low"], row["high"]), _rate(row["p"]), _rate(row["q"])]
        for row in rows.iter_rows(named=True)
    ]  # fmt: skip
    head = ["label, match by", "match", "logit", "others", "difference, 95 %", "p", "q"]
    return [
        title,
        table(head, made, id="carried"),
        note("Mean direct logit attribution to the operator where it is written."),
    ]


def _overlap(told: Told) -> list[Markup]:
    rows = told.beginning("overlap")
    if not rows["n"].sum():
        return _absent("neurons that are labelled with an operator, and their selectivity")
    lead = (
        "Of the neurons labelled with arithmetic, the share that is higher in steps that recall a fact, and in steps "
        f"that compute. {_COINCIDE} There what is recalled are facts of a world, what is computed is arithmetic, so "
        "that fewer memory neurons among those of arithmetic says that they are apart in topic, too. With data in "
        "which both kinds of step are about the same things (--steps) the question is the kind’s alone."
    )
    parts = [prose(lead)]
    for kind in ("memory", "reason"):
        own = rows.filter(question=f"overlap, {kind}")
        parts += [element("h3", f"Higher in {kind} steps"), _shares(own, kind)]
    return [*parts, note(_EXPLAINED)]


def _emerged(told: Told) -> list[Markup]:
    parts: list[Markup] = []
    for onset, title in _ONSETS.items():
        rows = told.of(f"emerged, {onset}")
        parts += [] if rows.is_empty() else [element("h3", title), _dated(rows, onset)]
    explained = (
        "The first step of training (median) from which a neuron always fires more like itself in the end than 99 % of "
        "strangers in its layer do (known_from), and writes as in the end (writes_from); dot: the other neurons. One "
        "that never does counts as the last that did. p: Mann-Whitney, of ranks within layer and polarity."
    )
    return [*parts, note(explained)] if parts else _absent("a run of emerge (--emergence, or --checkpoints to make it)")


def _dated(rows: pl.DataFrame, onset: str) -> Markup:
    made = [
        Dot(row["about"], row["value"], None, None, [f"{row['n']:,}", f"{row['value']:,.0f}", f"{row['null']:,.0f}",
            span(row["low"], row["high"], 0), _rate(row["p"]), _rate(row["q"])], [row["null"]])
        for row in rows.iter_rows(named=True)
    ]  # fmt: skip
    head = ["neurons", "step (median)", "neurons", "median", "others", "difference, 95 %", "p", "q"]
    return dots(made, head, scale_of(made), id=f"emerged-{onset}")


def _said(rows: pl.DataFrame) -> Markup:
    return element("ul", (element("li", each) for each in rows["said"]))


def _absent(what: str) -> list[Markup]:
    return [element("p", f"Left out: it takes {what}.", class_="absent")]


def _p(name: str, p: float | None) -> str:
    return f"{name} < 0.001" if p is not None and p < LEAST else f"{name} = {real(p, 3)}"


def _rate(p: float | None) -> str:
    return "< 0.001" if p is not None and p < LEAST else real(p, 3)
