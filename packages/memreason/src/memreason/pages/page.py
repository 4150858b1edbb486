"""The page as a whole: what it comes to, and the sections in the order of the argument."""

from collections.abc import Iterator, Sequence
from importlib.resources import files

from runkit.page import document
from runkit.page.document import Section
from runkit.page.markup import Markup

from memreason.pages import beside, blaming, headline, paper, probed
from memreason.pages.evidence import Evidence
from memreason.pages.paired import Contest
from memreason.pages.runs_read import Place
from memreason.pages.traces import traces

Contests = Sequence[tuple[Place, list[Contest]]]


def page(evidence: Evidence, contests: Contests, shown: int) -> str:
    """The whole page, with so many traces of each setting."""
    return document.page(
        "What is remembered, what is inferred",
        "A model that says of each step which it is, and whether that is true",
        headline.short(evidence, contests),
        list(_sections(evidence, contests, shown)),
        style=files("memreason.pages").joinpath("style.css").read_text("utf-8"),
    )


def _sections(evidence: Evidence, contests: Contests, shown: int) -> Iterator[Section]:
    yield Section("the-arms", "The arms", beside.arms(evidence))
    yield Section("accuracy", "How often they are right", beside.accuracy(evidence))
    yield Section("tests", "Arm against arm", beside.tests(contests))
    yield Section("steps", "What the steps and labels are worth", beside.steps(evidence))
    steered = probed.steering(evidence) if evidence.steered else _absent("steer", "steering")
    yield Section("steering", "Control", steered)
    blamed = blaming.errors(evidence) if evidence.blamed else _absent("errors", "errors")
    yield Section("errors", "What failed in wrong answers", blamed)
    looked = probed.attention(evidence.attention) if evidence.attention else _absent("attention", "attention")
    yield Section("attention", "Attention", looked)
    fired = probed.neurons(evidence.neurons) if evidence.neurons else _absent("neurons", "neurons")
    yield Section("neurons", "Neurons", fired)
    yield Section("traces", "Traces", traces(evidence, shown))
    yield Section("paper", "The paper’s numbers", paper.published())
    yield Section("made", "How this page was made", document.made(evidence.made))


def _absent(stage: str, option: str) -> list[Markup]:
    return document.absent(f"memreason {stage}", option)
