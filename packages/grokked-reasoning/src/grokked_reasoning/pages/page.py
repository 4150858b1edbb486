"""The page as a whole: what it comes to, and the sections in the order of the argument."""

from collections.abc import Iterator
from typing import Any

import polars as pl
from runkit.page import document
from runkit.page.document import Section
from runkit.page.markup import Markup
from runkit.page.numbers import listed, real, share, spanned_share

from grokked_reasoning.pages import measured, paper, trained
from grokked_reasoning.pages.evidence import Evidence, Traced


def page(evidence: Evidence) -> str:
    """The whole page."""
    return document.page(
        "From memorising to reasoning, as measured",
        "Small transformers trained from scratch on symbolic facts",
        _short(evidence),
        list(_sections(evidence)),
    )


def _sections(evidence: Evidence) -> Iterator[Section]:
    settings = evidence.settings
    yield Section("trained", "What was trained", trained.what(settings))
    yield Section("curves", "Accuracy over steps", trained.curves(settings))
    yield Section("when", "Fitted, and grokked", trained.when(settings))
    yield Section("outside", "Out of distribution", trained.outside(settings))
    checked = measured.evaluated(evidence.evaluated) if evidence.evaluated else _absent("evaluate", "evaluation")
    yield Section("evaluated", "The last checkpoints", checked)
    seen = [*measured.seeds(evidence.traced, settings)]
    seen += [part for each in evidence.traced for part in measured.circuit(each)]
    yield Section("circuit", "The circuit", seen or _absent("trace", "tracing"))
    lead = "What models of several sizes know of people’s profiles, in bits, from the loss of their answers."
    weighed = measured.capacity(evidence.capacity, lead) if evidence.capacity else _absent("capacity", "capacity")
    yield Section("weighed", "Bits of knowledge per parameter", weighed)
    asked = measured.hard(evidence.compared) if evidence.compared else _absent("llm-baseline", "baseline")
    yield Section("hard-test", "The hard test, and language models", asked)
    yield Section("paper-here", "The paper, and here", paper.against(settings))
    yield Section("made", "How this page was made", document.made(evidence.made))


def _short(evidence: Evidence) -> Iterator[str]:
    """The findings in a sentence each, from the numbers below."""
    yield from (trained.findings(each) for each in evidence.settings)
    yield from (_moved(each) for each in evidence.traced)
    for frame in evidence.compared:
        by_chance = frame.filter(kind="chance").select("system", "correct")
        luck = [f"{name} {share(right)}" for name, right in by_chance.iter_rows()]
        yield from (_answers(row, luck) for row in frame.filter(kind="this run").iter_rows(named=True))
    if evidence.capacity:
        best = evidence.capacity[1].filter(attribute="all", questions="one-hop", scheme="average")
        if len(best):
            top = best.sort("bits_per_parameter", descending=True).row(0, named=True)
            yield (
                f"The most knowledge per parameter among {len(best)} models: {real(top['bits_per_parameter'])} bits "
                f"({top['people']:,} people, {top['parameters']:,} parameters)."
            )


def _answers(row: dict[str, Any], luck: list[str]) -> str:
    right = f"{share(row['correct'])} {spanned_share(row['correct_low'], row['correct_high'])}"
    how = f"{row['context']} context, {row['answer']}"
    asked = f"{row['n']:,} questions of the hard test ({how})"
    return f"{row['system']} answers {right} of {asked}; by chance: {listed(luck)}."


def _moved(run: Traced) -> str:
    """How what the first hop fetches became readable, and how the answer came to hang on it: chosen before looking."""
    read, lost = measured.rises(run)
    lens = read.filter(pl.col("target").is_in(["bridge", "value1"]))
    state = lost.filter(pl.col("target") == "answer", pl.col("site").is_in(["r1", "e1"]))
    told = [
        *(f"MRR of {row['target']} at {row['token']} {_from_to(row)}" for row in lens.iter_rows(named=True)),
        *(f"causal strength of the state at {row['site']} {_from_to(row)}" for row in state.iter_rows(named=True)),
    ]
    (_, start), *_, (_, end) = measured.moments(run)
    return f"Circuit of {run.folder.name}, step {start:,} to {end:,}: {'; '.join(told)}."


def _from_to(row: dict[str, Any]) -> str:
    return f"(layer {row['layer']}) from {real(row['before'])} to {real(row['after'])}"


def _absent(stage: str, option: str) -> list[Markup]:
    return document.absent(f"grokked-reasoning {stage}", option)
