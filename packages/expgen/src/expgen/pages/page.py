"""The page as a whole: how good the words are, then every card, then where it is from."""

from collections.abc import Iterator
from importlib.resources import files

from runkit.page import document
from runkit.page.document import Section
from runkit.page.markup import Markup

from expgen.pages import overview
from expgen.pages.cards import cards
from expgen.pages.evidence import Evidence


def page(evidence: Evidence, most: int) -> str:
    """The whole page, with cards of at most `most` features."""
    return document.page(
        f"What the neurons of {evidence.exemplars.model} respond to",
        "Features described in words",
        overview.short(evidence),
        list(_sections(evidence, most)),
        style=_asset("style.css"),
        script=_asset("explorer.js"),
    )


def _sections(evidence: Evidence, most: int) -> Iterator[Section]:
    yield Section("described", "What was described", overview.made_of(evidence))
    scored = evidence.has("score")
    yield Section("scores", "How good the words are", overview.quality(evidence) if scored else _absent("score"))
    yield Section("layers", "Layer by layer", overview.layers(evidence))
    yield Section("cards", "Every feature", cards(evidence, most))
    yield Section("made", "How this page was made", document.made(evidence.made))


def _absent(stage: str) -> list[Markup]:
    return document.absent(f"expgen {stage}", "scores")


def _asset(name: str) -> str:
    return files("expgen.pages").joinpath(name).read_text("utf-8")
