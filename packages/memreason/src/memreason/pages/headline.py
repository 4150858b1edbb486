"""What the page comes to, in a few sentences that say no more than was measured."""

from collections.abc import Iterator, Sequence

from runkit.page.numbers import NONE, count, listed

from memreason.pages import blaming, measures, probed
from memreason.pages.beside import p_value
from memreason.pages.evidence import Evidence
from memreason.pages.measures import over, points
from memreason.pages.paired import Contest
from memreason.pages.runs_read import Place, Setting

TYPED, NONE_ARM = "typed", "none"


def short(evidence: Evidence, contests: Sequence[tuple[Place, list[Contest]]]) -> Iterator[str]:
    """The findings, the plainest first."""
    for place, found in contests:
        asked = evidence.asked(place)
        typed = next((each for each in asked if each.arm == TYPED), asked[0])
        yield _accuracy(place, typed)
        yield from (_against(place, each) for each in found if each.a == typed.name and _is_plain(each, asked))
        yield from _best(place, typed, found)
        yield from _labels(place, typed, asked)
    for run in evidence.steered:
        if told := list(probed.control(run)):
            yield f"Control, {run.name}, labels as asked (and what steps then do): {', '.join(told)}."
    yield from (line for run in evidence.blamed for line in blaming.sentences(run))
    if evidence.neurons is not None:
        yield probed.selective(evidence.neurons)


def _accuracy(place: Place, typed: Setting) -> str:
    n = len(place.of(typed.runs[0].answers))
    seeds = f", mean of {len(typed.runs)} runs" if len(typed.runs) > 1 else ""
    found = measures.told(measures.accuracy(typed, place))
    return f"{place.name}: {typed.name} answers {found} of {count(n, 'question')} rightly{seeds}."


def _is_plain(found: Contest, asked: Sequence[Setting]) -> bool:
    return any(each.name == found.b and each.arm == NONE_ARM for each in asked)


def _against(place: Place, found: Contest) -> str:
    low, high = (points(each) for each in found.difference[1:])
    says = {
        "more": "typed tokens gain accuracy here",
        "less": "typed tokens cost accuracy here",
    }.get(found.verdict, "no gain or loss of accuracy is shown; what they give is told below")
    change = f"{points(found.difference.value)} points [{low}, {high}], p {_p(found.p)}"
    return f"{place.name}: {found.a} against {found.b}: {change}: {says}."


def _best(place: Place, typed: Setting, found: Sequence[Contest]) -> Iterator[str]:
    """Arms that are more accurate than the typed one, beyond doubt."""
    better = [each for each in found if each.a == typed.name and each.verdict == "less"]
    better = [each for each in better if not each.b.startswith(NONE_ARM)]
    if better:
        told = [f"{each.b} ({points(-each.difference.value)} points)" for each in better]
        yield f"{place.name}: more accurate than {typed.name}: {listed(told)}."


def _labels(place: Place, typed: Setting, asked: Sequence[Setting]) -> Iterator[str]:
    """Whose labels are true, and what is stated and concluded."""
    mine = over(typed, place, measures.labels)
    if mine == NONE:
        return
    others = [(each.name, over(each, place, measures.labels)) for each in asked if each is not typed]
    told = [f"{name} {value}" for name, value in others if value != NONE]
    beside = f" ({', '.join(told)})" if told else ""
    also = {"of the facts needed are stated": measures.recall, "of conclusions follow": measures.VALID}
    does = [f"{value} {what}" for what, number in also.items() if (value := over(typed, place, number)) != NONE]
    rest = f"; {listed(does)}" if does else ""
    yield f"{place.name}: labels of {typed.name} say what the step does in {mine} of steps{beside}{rest}."


def _p(p: float) -> str:
    told = p_value(p)
    return told if told.startswith("<") else f"= {told}"
