"""The sections on the arms side by side: how often they are right, what their steps are worth, paired tests."""

from collections.abc import Callable, Mapping, Sequence

from runkit.page.charts import Dot, dots, scale_of
from runkit.page.markup import Markup, cell, element, note, prose, table
from runkit.page.numbers import count, real, share, spanned_share

from memreason.pages import measures
from memreason.pages.evidence import Evidence
from memreason.pages.measures import Number, over
from memreason.pages.paired import Contest
from memreason.pages.runs_read import Place, Setting

_TOLD = {
    "none": "steps without anything before them",
    "hard": "the kind as a tag in words",
    "general": "general tokens alone: the same before every step",
    "uniform": "as many tokens, but the same for every step",
    "random": "tokens of a kind drawn by a coin",
    "shuffled": "the kinds of a trace in another order",
    "typed": "tokens of the step’s kind: the method",
    "planned": "tokens of the step’s cluster (planning tokens)",
}


_OF_AN_ARM = {"arm", "general", "special", "plans", "init"}


def _one(value: float) -> str:
    return real(value, 1)


_Told = tuple[Number, Callable[[float], str]]
_EXACT: dict[str, _Told] = {
    "memory recall": (measures.recall, share),
    "facts true": (measures.PRECISE, share),
    "conclusions follow": (measures.VALID, share),
    "labels true": (measures.labels, share),
}
_WRITTEN: dict[str, _Told] = {
    "well-formed": (measures.rate("well_formed"), share),
    "memory steps": (measures.memory_share, share),
    "steps": (measures.rate("steps"), _one),
    "block tokens": (measures.rate("block_tokens"), _one),
    "surer when right": (measures.surer, real),
}


def arms(evidence: Evidence) -> list[Markup]:
    """What each arm writes before its steps."""
    unlike = _unlike(evidence.settings)
    rows = [
        [
            each.name,
            _TOLD.get(each.arm, "–"),
            count(each.students, "student"),
            *(each.told.get(key, "–") for key in unlike),
        ]
        for each in evidence.settings
    ]
    lead = (
        "Arms differ in what stands before each step. Only the typed arm (and the hard one) tells the truth about the "
        "steps; the others are its controls. "
    )
    fair = "They were trained and asked in the same way." if not unlike else (
        "They were also trained or asked in other ways, as the last columns tell, so a difference may come from that."
    )  # fmt: skip
    head = ["arm", "before each step", "students", *(key.replace("_", " ") for key in unlike)]
    return [prose(lead, fair), table(head, rows, id="arms", class_="long")]


def accuracy(evidence: Evidence) -> list[Markup]:
    """Accuracy by setting, for each dataset and split."""
    parts: list[Markup] = []
    for number, place in enumerate(evidence.places):
        asked = evidence.asked(place)
        rows = [_accuracy(each, place) for each in asked]
        head = ["arm", "accuracy; · runs", "accuracy", "95 %", "runs", "no answer"]
        n = len(place.of(asked[0].runs[0].answers))
        parts += [element("h3", f"{place.name}: {count(n, 'question')}")]
        parts += [dots(rows, head, (0, 1), id=f"accuracy-{number}")]
    words = (
        "Intervals: of several runs, Student’s t over seeds, which says nothing of other questions; of one, or of runs "
        "that are all the same, Wilson’s over questions. No answer: none that can be read; it counts as wrong."
    )
    return [*parts, note(words)]


def steps(evidence: Evidence) -> list[Markup]:
    """What the steps and labels are worth, for each dataset and split."""
    parts: list[Markup] = []
    for number, place in enumerate(evidence.places):
        asked = evidence.asked(place)
        parts.append(element("h3", place.name))
        if any(run.checked is not None for each in asked for run in each.runs):
            parts.append(_numbers(asked, place, _EXACT, f"checked-{number}"))
        parts.append(_numbers(asked, place, _WRITTEN, f"written-{number}"))
    words = (
        "By the exact checker, on toy worlds: memory recall: of the facts that the solution needs, those stated; facts "
        "true: of the steps that state a fact, whatever their label (steps called memory that state nothing readable "
        "are left out; they count against labels true); conclusions follow: from what was given and said before, be "
        "that false; labels true: of all steps, those whose label is what they do. By the text alone: well-formed: "
        "answers without a fault of form; memory steps: of all steps labelled memory or reason; steps, and tokens "
        "written before them, per answer. Surer when right: AUROC of the mean log-probability, 0.5 by chance. Several "
        "runs: the mean (least to most)."
    )
    return [*parts, note(words)]


def tests(contests: Sequence[tuple[Place, list[Contest]]]) -> list[Markup]:
    """Differences of accuracy on the same questions."""
    parts: list[Markup] = []
    for number, (place, found) in enumerate(contests):
        if found:
            rows = [_contest(each) for each in found]
            head = ["a against b", "a − b", "points", "95 %", "p", "only a right", "only b right", "pairs of runs"]
            parts += [element("h3", place.name), dots(rows, head, scale_of(rows), id=f"pairs-{number}")]
    if not parts:
        return [prose("No two of them were asked the same questions, so there is nothing to compare.")]
    words = (
        "In percentage points, on the same questions. One pair of runs: exact McNemar test, interval by paired "
        "bootstrap over questions. Several: paired t-test and t-interval over runs of the same seed. p is not "
        "corrected for the number of tests: of twenty, one is below 0.05 by chance."
    )
    return [*parts, note(words)]


def _unlike(settings: Sequence[Setting]) -> list[str]:
    """Choices in which settings differ, beside those that make an arm."""
    keys = dict.fromkeys(key for each in settings for key in each.choices if key not in _OF_AN_ARM)
    return [key for key in keys if any(each.choices.get(key) != settings[0].choices.get(key) for each in settings)]


def _numbers(asked: Sequence[Setting], place: Place, numbers: Mapping[str, _Told], key: str) -> Markup:
    rows = [
        [each.name, *(cell(over(each, place, number, how), class_="num") for number, how in numbers.values())]
        for each in asked
    ]
    return table(["arm", *numbers], rows, id=key)


def _accuracy(setting: Setting, place: Place) -> Dot:
    found = measures.accuracy(setting, place)
    single = [measures.accuracy(Setting("", [run]), place).value for run in setting.runs]
    invalid = over(setting, place, measures.rate("invalid"))
    cells = [share(found.value), spanned_share(found.low, found.high), len(setting.runs), invalid]
    return Dot(setting.name, found.value, found.low, found.high, cells, single if len(single) > 1 else ())


def _contest(found: Contest) -> Dot:
    value, low, high = (100 * each for each in found.difference)
    only = [f"{found.rows[name].sum():,}" for name in ("only_a", "only_b")]
    cloud = [100 * each for each in found.rows["difference"]] if len(found.rows) > 1 else []
    cells = [real(value, 1), f"[{real(low, 1)}, {real(high, 1)}]", p_value(found.p), *only, len(found.rows)]
    return Dot(f"{found.a} against {found.b}", value, low, high, cells, cloud)


def p_value(p: float) -> str:
    """0.031; < 0.001."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
