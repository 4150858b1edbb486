"""The page as a whole: its head, what it comes to, the sections in the order of the argument, and where it is from."""

from collections.abc import Iterator
from importlib.resources import files

import polars as pl
from runkit.page import document
from runkit.page.document import Section
from runkit.page.frames import mean
from runkit.page.markup import Markup
from runkit.page.numbers import count, real, share, spanned_share

from cot_neurons.pages import ablated, answered, found, tested
from cot_neurons.pages.cards import cards
from cot_neurons.pages.evidence import Evidence
from cot_neurons.pages.tokens import tokens


def page(evidence: Evidence) -> str:
    """The whole page."""
    return document.page(
        f"How {evidence.model} reasons",
        "Neurons that carry a chain of thought",
        _short(evidence),
        [Section(*each) for each in _sections(evidence)],
        style=files("cot_neurons.pages").joinpath("style.css").read_text("utf-8"),
    )


def _sections(evidence: Evidence) -> Iterator[tuple[str, str, list[Markup]]]:
    """Anchor, title and content, in the order of the argument."""
    yield "asked", "What was asked", answered.prompts(evidence)
    yield "answers", "How often it is right", answered.accuracy(evidence)
    yield "neurons", "Neurons found", found.neurons(evidence)
    labelled = evidence.labelling
    yield "labelled", "What they promote", found.labels(labelled) if labelled else _absent("label", "labels")
    yield "layers", f"Layers and {evidence.topic}s", found.layer_map(evidence)
    active = evidence.activity
    yield "active", "Activity under each prompt", tested.activity(*active) if active else _absent("activity")
    ablations = [each for i, run in enumerate(evidence.ablations, start=1) for each in ablated.ablation(run, i)]
    yield "ablated", "What breaks without them", ablations or _absent("ablate", "ablation")
    attributed = evidence.attribution
    told = tested.attribution(evidence, *attributed) if attributed else _absent("attribute", "attribution")
    yield "attributed", "What they do for the next token", told
    overlaps = evidence.overlaps
    yield "stable", "Found again", tested.stability(overlaps) if overlaps is not None else _absent("stability")
    yield "cards", "Neuron cards", cards(evidence)
    yield "chains", "Chains, token by token", tokens(evidence)
    yield "made", "How this page was made", document.made(evidence.made)


def _short(evidence: Evidence) -> Iterator[str]:
    """The findings in a sentence each, from the numbers below."""
    rates = [(answers.variant, *answered.strict(answers.items)) for answers in evidence.answers]
    sizes = [len(answers.items) for answers in evidence.answers]
    told = [
        f"{name} {share(value)} {spanned_share(low, high)} of {n:,}"
        for (name, value, low, high), n in zip(rates, sizes, strict=True)
    ]
    unlike = "; runs of unlike many problems are not of the same ones" if len(set(sizes)) > 1 else ""
    yield f"Right answers by prompt: {'; '.join(told)}{unlike}."
    yield f"{count(len(evidence.neurons), 'neuron')} were at some token among the strongest of their layer."
    if evidence.labelling is not None:
        labels = evidence.labelling.labels
        held = labels.filter(pl.col("validated").fill_null(False))
        own = held.filter(pl.col("specific_auroc") > 0.5)
        yield (
            f"{count(len(labels), 'label')}; on other chains {len(held):,} of their neurons fire where their concept "
            f"is written more than elsewhere, and {len(own):,} of these more than where any other concept is."
        )
    if evidence.activity is not None:
        over = evidence.activity[1].filter(level="variants", measure="active").drop_nulls("r_low")
        rising = int((over["r_low"] > 0).sum())
        known = count(len(over), "concept")
        if len(over):
            yield f"Activity rises with accuracy over prompts (95 % interval above 0) for {rising} of {known}."
    for run in evidence.ablations:
        yield from ablated.hurt(run)
    if evidence.overlaps is not None:
        halves = evidence.overlaps.filter(axis="seed")
        shared, chance = mean(halves["jaccard"]), mean(halves["chance"])
        yield f"Two halves of the items give neurons that overlap by {real(shared)} (by chance {real(chance, 3)})."


def _absent(stage: str, option: str | None = None) -> list[Markup]:
    return document.absent(f"cot-neurons {stage}", option or stage)
