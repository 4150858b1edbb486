"""The questions that the table of neurons answers, each with a number, what chance gives, an interval and p."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import polars as pl
from cot_neurons.ablation.cases import OPERATOR_OF
from runkit.page.numbers import count, real, share, signed, span, spanned_share

from reasonscope.neurons import tables
from reasonscope.neurons.concepts import Known, about
from reasonscope.neurons.found import Ablation
from reasonscope.neurons.join import beaten
from reasonscope.neurons.statistics import STRATUM, Together, adjusted, apart, together

Row = dict[str, Any]
ARITHMETIC = tuple(OPERATOR_OF)
_WAYS = {
    "about": ("described", "have a description about it"),
    "peaks": ("peaks", "have its tokens at the peaks of at least half of their exemplars"),
    "next": ("next", "have its tokens right after the peaks of at least half of their exemplars"),
}
_ONSETS = {"known": "like themselves in the end", "writes": "writing what they write in the end"}
EVERY, DECOY = "arithmetic", "decoy"


def answers(rows: Iterable[Row]) -> pl.DataFrame:
    """Table `answers`: with p adjusted within each question."""
    columns = {name: each.dtype.type for name, each in tables.Answers.to_schema().columns.items()}
    frame = pl.DataFrame(list(rows), schema={name: kind for name, kind in columns.items() if name != "q"})
    parts = [
        part.with_columns(q=pl.Series(adjusted(part["p"].to_list()), dtype=pl.Float64))
        for part in frame.partition_by("question", maintain_order=True)
    ]
    return pl.concat([*parts, pl.DataFrame(schema=columns)], how="diagonal").select(*columns)


def described(neurons: pl.DataFrame, concepts: Sequence[str]) -> Iterator[Row]:
    """Are labelled neurons described so? By words, by what stands at the peaks, by what follows.

    Neurons that label did not look at are left out: nobody said that they are not of the concept.
    """
    looked_at = _looked_at(neurons)
    for column, (question, said) in _WAYS.items():
        rows = looked_at.filter(pl.col(column).is_not_null())
        if rows.is_empty():
            continue
        for concept in concepts:
            found = together(_marked(rows, "concepts", concept, column, concept), "one", "other")
            yield _of_share(question, concept, found, f"of neurons labelled {concept}", said)


def confusion(neurons: pl.DataFrame, known: Known) -> pl.DataFrame:
    """Table `confusion`: by label (and without any), how often the description is about each concept, or a decoy."""
    rows = _looked_at(neurons).filter(pl.col("description").is_not_null())
    decoys = [len(about(each, known.decoys)) / max(1, len(known.decoys)) for each in rows["description"]]
    rows = rows.with_columns(pl.Series("decoys", decoys, pl.Float64), pl.col("concepts").fill_null([]))
    of = {each: pl.col("concepts").list.contains(each) for each in known.words} | {
        "": pl.col("concepts").list.len() == 0
    }
    found = []
    for label, chosen in of.items():
        own = rows.filter(chosen)
        means = own.select(*(pl.col("about").list.contains(each).mean().alias(each) for each in known.words))
        shares = means.row(0, named=True) | ({DECOY: own["decoys"].mean()} if known.decoys else {})
        found += [(label, name, len(own), value) for name, value in shares.items()]
    columns = {name: each.dtype.type for name, each in tables.Confusion.to_schema().columns.items()}
    return pl.DataFrame(found, schema=columns, orient="row")


def ablated(runs: Sequence[Ablation]) -> Iterator[Row]:
    """Do a concept's neurons carry its own operator's equations, more than control draws do, and others' equations?

    p: the share of control draws, of the kind that hurts most, that hurt at least as much; the target counts as one.
    """
    held = [beaten(run.tests).drop_nulls("change") for run in runs]
    many = sum(each["amount"].n_unique() for each in held) > 1
    for run, tests in zip(runs, held, strict=True):
        for (concept, amount), own in tests.group_by("concept", "amount", maintain_order=True):
            yield _causal(run, str(concept), float(str(amount)), own, doses=many)


def _causal(run: Ablation, concept: str, amount: float, tests: pl.DataFrame, *, doses: bool) -> Row:
    own = f"odds {OPERATOR_OF[concept]}"
    target = run.effects.filter(kind="target", concept=concept, amount=amount)
    mine = target.filter(metric=own).row(0, named=True)
    others = target.filter(
        pl.col("metric").is_in([f"odds {sign}" for sign in OPERATOR_OF.values()]), pl.col("metric") != own
    )
    hurt = tests.with_columns(p=(1 + (1 - pl.col("worse_than")) * pl.col("draws")) / (1 + pl.col("draws")))
    worst = hurt.sort("p", descending=True).row(0, named=True)
    neurons = run.targets.filter(condition=mine["condition"]).select("layer", "neuron").n_unique()
    draws = " and ".join(
        f"{round(each['worse_than'] * each['draws'])} of {each['draws']} {each['control']}"
        for each in tests.iter_rows(named=True)
    )
    rest = ", ".join(
        f"{metric.removeprefix('odds ')} {signed(change)}"
        for metric, change in others.select("metric", "change").iter_rows()
    )
    more = all(mine["change"] < change for change in others["change"].drop_nulls())
    mode = f"{run.conditions['mode'][0]} × {amount:g}"
    said = (
        f"{concept}, {count(neurons, 'neuron')} ({mode}): log-odds of its own equations {signed(mine['change'])} "
        f"{span(mine['low'], mine['high'])}, worse than {draws} draws; other equations {rest}"
        f"{': its own most' if more else ': not its own most'}."
    )
    about = f"{concept} ({mode})" if doses else concept
    return _row("ablated", about, "nats", neurons, mine["change"], worst["control_mean"], (mine["low"], mine["high"]),
                worst["p"], said)  # fmt: skip


def carried(neurons: pl.DataFrame, attributions: pl.DataFrame, concepts: Sequence[str], seed: int) -> Iterator[Row]:
    """Of the labelled neurons, do those whose description (or what follows their peaks) says so write more of it?

    Direct logit attribution at the tokens of the concept's operator; neurons that attribute did not keep are left out.
    """
    everything = attributions.filter(group="all").select("model", *_POLE, "kind", written="logit")
    for column, (question, said) in _WAYS.items():
        for concept in concepts:
            own = neurons.filter(pl.col("concepts").list.contains(concept), pl.col(column).is_not_null())
            rows = own.drop("logit").join(everything.filter(kind=OPERATOR_OF[concept]), on=["model", *_POLE])
            matches = pl.col(column).list.contains(concept)
            yes, no = (rows.filter(each)["written"].to_numpy() for each in (matches, ~matches))
            found = apart(yes, no, "mean", seed)
            if found is None:
                continue
            text = (
                f"neurons labelled {concept} that {said} ({found.n}) add {signed(found.value)} to the logit of a "
                f"written {OPERATOR_OF[concept]}, the other {found.rest} {signed(found.other)}: difference "
                f"{signed(found.value - found.other)} {span(found.low, found.high)}."
            )
            yield _row(f"carried, {question}", concept, "nats", found.n, found.value, found.other,
                       (found.low, found.high), found.p, text)  # fmt: skip


def overlap(neurons: pl.DataFrame, concepts: Sequence[str]) -> Iterator[Row]:
    """Are the neurons labelled with arithmetic those that are higher in steps that recall, or in steps that infer?"""
    rows = _looked_at(neurons).filter(pl.col("selective").is_not_null())
    if rows.is_empty():
        return
    groups = [(EVERY, list(concepts)), *((each, [each]) for each in concepts)]
    for kind in ("memory", "reason"):
        for name, of_it in groups:
            one = pl.col("concepts").fill_null([]).list.set_intersection(of_it).list.len() > 0
            found = together(rows.select(*STRATUM, one=one, other=pl.col("selective") == kind), "one", "other")
            yield _of_share(
                f"overlap, {kind}", name, found, f"of neurons labelled {name}", f"are higher in {kind} steps"
            )


def emerged(neurons: pl.DataFrame, seed: int) -> Iterator[Row]:
    """When in training do neurons with a label, a kind of step or a good description become what they are?

    Asked of what they fire on (known_from) and of what they write (writes_from). One that never does counts as the last
    that did. p is from ranks within layer and polarity, because layers grow at different times.
    """
    groups = {
        "labelled": pl.col("concepts").list.len() > 0,
        "higher in memory steps": pl.col("selective") == "memory",
        "higher in reason steps": pl.col("selective") == "reason",
        "described better than every null": pl.col("score") > pl.max_horizontal("null_other", "null_lookup"),
    }
    living = neurons.filter(pl.col("emerged").is_in(["found", "never"]))
    for onset, what in _ONSETS.items():
        step = pl.col(f"{onset}_from")
        dated = living.with_columns(step=step.fill_null(step.max())).drop_nulls("step")
        rows = dated.with_columns(rank=pl.col("step").rank().over(STRATUM) / pl.len().over(STRATUM))
        for name, chosen in groups.items():
            yes, no = (rows.filter(each) for each in (chosen.fill_null(False), ~chosen.fill_null(False)))
            found = apart(yes["step"].to_numpy(), no["step"].to_numpy(), "median", seed)
            ranked = apart(yes["rank"].to_numpy(), no["rank"].to_numpy(), "median", seed)
            if found is None or ranked is None:
                continue
            said = (
                f"{name} ({found.n:,}): {what} from step {found.value:,.0f} (median), the other {found.rest:,} from "
                f"{found.other:,.0f}: difference {span(found.low, found.high, 0)}."
            )
            yield _row(f"emerged, {onset}", name, "steps", found.n, found.value, found.other, (found.low, found.high),
                       ranked.p, said)  # fmt: skip


_POLE = ["layer", "neuron", "polarity"]


def _looked_at(neurons: pl.DataFrame) -> pl.DataFrame:
    """The neurons that label was given, where it is known which these are."""
    given = neurons.filter(pl.col("hits").is_not_null())
    return given if len(given) else neurons


def _marked(rows: pl.DataFrame, one: str, concept: str, other: str, also: str) -> pl.DataFrame:
    marks = {"one": pl.col(one).list.contains(concept), "other": pl.col(other).list.contains(also)}
    return rows.select(*STRATUM, **{name: mark.fill_null(False) for name, mark in marks.items()})


def _of_share(question: str, about: str, found: Together, whose: str, what: str) -> Row:
    n = found.n
    if n == 0:
        return _row(
            question,
            about,
            "share",
            0,
            None,
            None,
            (None, None),
            None,
            f"no neuron {whose.removeprefix('of neurons ')}.",
        )
    value, null, low, high = (each / n for each in (found.both, found.expected, found.low, found.high))
    times = f", {real(value / null)} times as many" if null and value else ""
    said = (
        f"{found.both} of {n:,} {whose.removeprefix('of ')} ({share(value)} {spanned_share(low, high)}) {what}; chance "
        f"{share(null)}{times}."
    )
    return _row(question, about, "share", n, value, null, (low, high), found.p, said)


def _row(
    question: str, about: str, of: str, n: int, value: float | None, null: float | None,
    ends: tuple[float | None, float | None], p: float | None, said: str,
) -> Row:  # fmt: skip
    return {"question": question, "about": about, "of": of, "n": n, "value": value, "null": null, "low": ends[0],
            "high": ends[1], "p": p, "said": said}  # fmt: skip
