"""The sections on what follows from the labels: activity and attribution; and how far the neurons are found again."""

from collections.abc import Iterator

import polars as pl
from runkit.page.charts import Dot, curves, dots, scale_of
from runkit.page.frames import mean, unique, value
from runkit.page.markup import Child, Markup, cell, element, note, prose, table
from runkit.page.numbers import NONE, real, share, signed, span

from cot_neurons.pages.evidence import POLE, Evidence
from cot_neurons.pages.found import code
from cot_neurons.stability_figures import means
from cot_neurons.tags import KINDS

_RAISING, _DIFFERING = 3, 15


def activity(found: pl.DataFrame, correlations: pl.DataFrame) -> list[Markup]:
    """How active each concept's neurons are under each prompt, and how that goes with accuracy."""
    whole = found.filter(tag="all")
    lead = (
        "How many of a concept’s neurons are, per token, among the strongest of their layer and sign: over all chains "
        "of a prompt, and over those that end right or wrong. Prompts stand in the order of their accuracy."
    )
    explained = (
        "r, ρ: Pearson’s and Spearman’s correlation with accuracy over prompts, or with right and wrong over the "
        "problems of one prompt; 95 % bootstrap intervals. Strength: mean |m|·‖v‖ per neuron and token."
    )
    head = ["concept", "over", "n", "r, neurons active", "95 %", "ρ", "r, strength", "95 %", "ρ"]
    return [
        prose(lead),
        element(
            "div", (_active(whole.filter(concept=each)) for each in unique(whole, "concept")), class_="panels wide"
        ),
        element("h3", "With accuracy"),
        table(head, list(_correlated(correlations)), id="correlations"),
        note(explained),
    ]


def _active(of_it: pl.DataFrame) -> Markup:
    groups = [dict(of_it.filter(group=each).select("variant", "active").iter_rows()) for each in ("right", "wrong")]
    order = of_it.filter(group="all").sort("accuracy", "variant", descending=[True, False])
    rows: list[Dot] = []
    for row in order.iter_rows(named=True):
        ends = row["active_low"], row["active_high"]
        by_group = [real(each.get(row["variant"])) for each in groups]
        cells = [real(row["active"]), span(*ends), *by_group, share(row["accuracy"])]
        rows.append(Dot(row["variant"], row["active"], *ends, cells))
    concept = of_it["concept"][0]
    head = ["prompt", "active per token", "mean", "95 %", "right", "wrong", "accuracy"]
    return element("article", element("h3", concept), dots(rows, head, scale_of(rows), id=f"activity-{concept}"))


def _correlated(correlations: pl.DataFrame) -> Iterator[list[Child]]:
    for (concept, level), rows in correlations.group_by("concept", "level", maintain_order=True):
        cells: list[Child] = []
        for measure in ("active", "strength"):
            row = rows.filter(measure=measure)
            cells += [real(value(row, "r")), span(value(row, "r_low"), value(row, "r_high")), real(value(row, "rho"))]
        yield [concept, "prompts" if level == "variants" else level, rows["n"][0], *cells]


def attribution(evidence: Evidence, found: pl.DataFrame, contrasts: pl.DataFrame) -> list[Markup]:
    """Which neurons raised the token that was written, by kind of token; and where groups of items differ."""
    topics = evidence.topics.group_by(POLE).agg(pl.col("topic").unique(maintain_order=True))
    raising = found.filter(group="all").join(topics, on=POLE, how="left")
    head = ["writing", "neuron", evidence.topic, "logit", "95 %", "Δ log p", "95 %", "tokens"]
    explained = (
        "Logit: mean direct attribution of m·v to the token written, over all tokens of the kind. Δ log p: mean rise "
        "of its log-probability when m·v is added to the stream that enters the layer’s MLP. 95 % bootstrap intervals."
    )
    parts = [
        prose("The neurons that raise the logit of the token being written most, by kind of token:"),
        table(head, list(_raising(raising)), id="attributions"),
        note(explained),
    ]
    told = contrasts.filter((pl.col("low") > 0) | (pl.col("high") < 0)).join(topics, on=POLE, how="left")
    if told.is_empty():
        return parts
    strongest = told.sort(pl.col("difference").abs(), descending=True).head(_DIFFERING)
    head = ["contrast", "writing", "neuron", evidence.topic, "difference", "95 %", "items"]
    counted = f"The largest of {len(told):,} differences, out of {len(contrasts):,}, whose 95 % interval leaves out 0."
    return [*parts, element("h3", "Where groups differ"), table(head, list(_differing(strongest)), id="contrasts"),
            note(f"{counted} They are not corrected for how many were looked at.")]  # fmt: skip


def _raising(found: pl.DataFrame) -> Iterator[list[Child]]:
    order = found.sort("logit", *POLE, descending=[True, False, False, False])
    for kind in KINDS:
        for row in order.filter(kind=kind).head(_RAISING).iter_rows(named=True):
            numbers = [signed(row["logit"]), span(row["logit_low"], row["logit_high"])]
            numbers += [signed(row["logp"]), span(row["logp_low"], row["logp_high"]), f"{row['steps']:,}"]
            yield [kind, code(row), _topics(row["topic"]), *numbers]


def _differing(found: pl.DataFrame) -> Iterator[list[Child]]:
    for row in found.iter_rows(named=True):
        numbers = [signed(row["difference"]), span(row["low"], row["high"]), f"{row['items']:,}"]
        yield [row["contrast"], row["kind"], code(row), _topics(row["topic"]), *numbers]


def _topics(names: list[str] | None) -> str:
    return ", ".join(names or []) or NONE


def stability(overlaps: pl.DataFrame) -> list[Markup]:
    """How far other items, smaller k and other runs find the same neurons."""
    told = means(overlaps)
    draws = told.filter(pl.col("axis").is_in(["items", "seed"])).drop_nulls("mean").sort("amount")
    kinds = [kind for kind in KINDS if kind in told["kind"]]
    lines = {kind: draws.filter(kind=kind).select("amount", "mean").rows() for kind in kinds}
    level = draws.group_by("amount").agg(pl.col("chance").mean()).sort("amount").rows()
    axes = {"items": "draws of items", "seed": "halves of the items", "k": "smaller k"}
    rows = [
        [axes[axis], f"{amount:,}", *(_overlap(of_it.filter(kind=kind)) for kind in kinds)]
        for (axis, amount), of_it in told.filter(pl.col("axis") != "prompt").group_by(
            "axis", "amount", maintain_order=True
        )
    ]
    for (one, other), of_it in overlaps.filter(axis="prompt").group_by("one", "other", maintain_order=True):
        rows.append([f"{one}, {other}", NONE, *(_overlap(means(of_it.filter(kind=kind))) for kind in kinds)])
    lead = (
        "The most telling neurons of each kind of token, looked for again: Jaccard overlap of two sets, mean ± sd. "
        "Draws that are compared share no item; smaller k are compared with the run’s own; runs with each other."
    )
    return [
        prose(lead),
        curves({kind: line for kind, line in lines.items() if line}, level, "items in each draw", "overlap by items"),
        table(["compared", "items or k", *kinds], rows, id="stability"),
        note(f"Dashed: random sets of these sizes ({real(mean(told['chance']), 3)} on average)."),
    ]


def _overlap(row: pl.DataFrame) -> Markup:
    spread = value(row, "sd")
    return cell(real(value(row, "mean")), f" ± {real(spread)}" if spread is not None else None, class_="num")
