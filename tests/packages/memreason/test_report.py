"""What stands on the page is what the tables say, worked out here by other means; no text becomes part of the page."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from memreason.errors import errors
from memreason.options import ErrorsOptions, EvaluateOptions, ReportOptions
from memreason.pages.evidence import Evidence
from memreason.pages.measures import Estimate
from memreason.pages.paired import Contest
from memreason.report import report
from runkit.errors import UsageError
from scipy import stats

from tests.packages.memreason import made, told_story
from tests.packages.memreason.test_errors import wilson
from tests.packages.memreason.test_errors_toy import gullible
from tests.packages.memreason.told_story import HOSTILE
from tests.shared.llmkit.server import FaultyServer
from tests.shared.runkit.page_reader import Node, read

pytestmark = pytest.mark.usefixtures("workplace")

SECTIONS = ["the-arms", "accuracy", "tests", "steps", "steering", "errors", "attention", "neurons", "traces", "paper",
            "made"]  # fmt: skip


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> ReportOptions:
    """The whole story, and its page."""
    folder = tmp_path_factory.mktemp("story")
    given = told_story.story(folder)
    with FaultyServer(gullible) as server:
        blamed = errors(
            ErrorsOptions(answers=given["evaluations"][0], data=str(folder / "data"), judge=HOSTILE,
                          base_url=server.url, key_variable="none", out=folder / "errors")
        )  # fmt: skip
    options = ReportOptions(**given, errors=(str(blamed),), out=folder / "report", shown=10)
    report(options)
    return options


@pytest.fixture(scope="module")
def html(told: ReportOptions) -> str:
    assert told.out is not None
    return (told.out / "report.html").read_text("utf-8")


@pytest.fixture(scope="module")
def tree(html: str) -> Node:
    return read(html)


def answers(told: ReportOptions, run: int, split: str = "test") -> pl.DataFrame:
    return pl.read_parquet(Path(told.evaluations[run]) / "tables" / "answers.parquet").filter(split=split)


def right(told: ReportOptions, run: int, split: str = "test") -> list[bool]:
    return answers(told, run, split).sort("id")["correct"].to_list()


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def test_the_argument_stands_in_order(tree: Node):
    assert [node.attributes["id"] for node in tree.all("section")] == SECTIONS
    assert not tree.all("p", class_="absent")
    assert [row[::2] for row in tree.rows("arms")] == [
        ["typed", "2 students"], ["none", "2 students"], ["random", "1 student"],
    ]  # fmt: skip


def test_who_was_taught_otherwise_is_said(tree: Node, workplace: Path):
    assert tree.one("section", id="the-arms").one("p").text.endswith("They were trained and asked in the same way.")
    place, runs = told_story.data(workplace / "data"), []
    for arm, epochs in (("typed", 8), ("none", 2)):
        taught = told_story.student(workplace / arm, arm, 0, epochs=epochs)
        runs.append(str(told_story.evaluated(workplace / f"asked-{arm}", place, taught, arm, 0, ("test",))))
    html = (report(ReportOptions(evaluations=tuple(runs), out=workplace / "report")) / "report.html").read_text("utf-8")
    section = read(html).one("section", id="the-arms")
    assert "trained or asked in other ways" in section.one("p").text
    assert [cell.text for cell in section.one("thead").all("th")][3:] == ["epochs"]
    assert [row[3:] for row in section.rows("arms")] == [["8.0"], ["2.0"]]


@pytest.mark.parametrize(
    ("value", "low", "high", "p", "verdict"),
    [
        (0.1, 0.02, 0.2, 0.01, "more"),
        (-0.1, -0.2, -0.02, 0.01, "less"),
        (0.1, 0.02, 0.2, 0.07, "unknown"),
        (0.1, -0.02, 0.2, 0.04, "unknown"),
    ],
)
def test_only_what_interval_and_test_both_say_is_said(value: float, low: float, high: float, p: float, verdict: str):
    assert Contest("a", "b", Estimate(value, low, high), p, pl.DataFrame()).verdict == verdict


def test_accuracy_over_seeds_and_over_questions(tree: Node, told: ReportOptions):
    rows = {row[0]: row[2:] for row in tree.rows("accuracy-0")}
    typed = [np.mean(right(told, run)) for run in (0, 1)]
    low, high = stats.t.interval(0.95, 1, np.mean(typed), stats.sem(typed))
    ends = f"[{100 * max(low, 0):.1f}, {100 * min(high, 1):.1f}]"
    assert typed[0] != typed[1]
    assert rows["typed"][:3] == [percent(float(np.mean(typed))), ends, "2"]
    single = right(told, 4)
    low, high = wilson(sum(single), len(single))
    assert rows["random"][:3] == [percent(np.mean(single)), f"[{100 * low:.1f}, {100 * high:.1f}]", "1"]
    invalid = (answers(told, 4)["status"] == "invalid").sum() / len(single)
    assert rows["random"][3] == percent(invalid)
    assert invalid > 0
    assert "random" not in {row[0] for row in tree.rows("accuracy-1")}, "it was not asked these"
    assert tree.one("section", id="accuracy").all("h3")[0].text == f"toy test: {len(single)} questions"


def test_pairs_by_mcnemar_and_over_seeds(tree: Node, told: ReportOptions):
    rows = {row[0]: row[2:] for row in tree.rows("pairs-0")}
    assert list(rows) == ["typed against none", "typed against random", "none against random"]
    one, other = np.array(right(told, 0)), np.array(right(told, 4))
    only = int((one & ~other).sum()), int((~one & other).sum())
    p = min(1.0, 2 * stats.binom.cdf(min(only), sum(only), 0.5))
    found = rows["typed against random"]
    assert [found[0], *found[2:]] == [f"{100 * (one.mean() - other.mean()):.1f}", f"{p:.3f}", *map(str, only), "1"]
    typed, none = ([float(np.mean(right(told, run))) for run in runs] for runs in ((0, 1), (2, 3)))
    found = rows["typed against none"]
    assert found[0].replace("−", "-") == f"{100 * (np.mean(typed) - np.mean(none)):.1f}"
    assert found[2] == f"{stats.ttest_rel(typed, none).pvalue:.3f}"
    assert found[-1] == "2"
    assert told.out is not None
    pairs = pl.read_parquet(told.out / "tables" / "pairs.parquet")
    assert pairs.filter(split="test").select("a", "b").rows() == [
        ("typed, seed 0", "none, seed 0"), ("typed, seed 1", "none, seed 1"), ("typed, seed 0", "random"),
        ("none, seed 0", "random"),
    ]  # fmt: skip
    for row in pairs.filter(split="test", b="none, seed 1").iter_rows(named=True):
        assert (row["accuracy_a"], row["accuracy_b"]) == pytest.approx((typed[1], none[1]))


def test_steps_and_labels(tree: Node, told: ReportOptions):
    place = Path(told.evaluations[4]) / "tables" / "checked.parquet"
    steps = pl.read_parquet(place)
    recall, facts, follow, labels = tree.rows("checked-0")[2][1:]
    memory, reason = (steps.filter(content=content)["true"] for content in ("memory", "reason"))
    assert facts == percent(memory.sum() / len(memory))
    assert follow == percent(reason.sum() / len(reason))
    assert labels == percent((steps["kind"] == steps["content"]).sum() / len(steps))
    stated = steps.filter(content="memory", true=True)
    assert recall == percent(len(stated) / (2 * len(right(told, 4)))), "each question needs two facts"
    assert tree.rows("checked-0")[1][-1] == "–", "an arm without kinds has no labels"
    assert [row[0] for row in tree.rows("written-0")] == ["typed", "none", "random"]
    assert [row[4] for row in tree.rows("written-0")] == ["12.0", "0", "12.0"]
    assert [row[2] for row in tree.rows("written-0")][1] == "–"
    assert tree.rows("written-0")[0][5] == "1.00", "the surer answers are right"


def test_the_headline_says_what_was_measured(tree: Node, told: ReportOptions):
    lines = [node.text for node in tree.one("header").all("li")]
    typed, none = ([float(np.mean(right(told, run))) for run in runs] for runs in ((0, 1), (2, 3)))
    assert lines[0].startswith(f"toy test: typed answers {percent(float(np.mean(typed)))} [")
    assert lines[0].endswith("of 15 questions rightly, mean of 2 runs.")
    change = f"{100 * (np.mean(typed) - np.mean(none)):.1f}".replace("-", "−")
    assert lines[1].startswith(f"toy test: typed against none: {change} points [")
    assert lines[1].endswith("no gain or loss of accuracy is shown; what they give is told below.")
    assert "(random " in lines[2]
    assert any("what steps then do): memory first 96.7 % (93.3 %), </" in line for line in lines)
    wrong = right(told, 0).count(False)
    assert any(
        line.startswith(f"Attribution, toy test: of {wrong} wrong answers of typed, seed 0, by the exact")
        for line in lines
    )
    assert lines[-1] == "Inside: of 3 neurons, 2 are higher in memory steps and 0 are higher in reason steps."


def test_what_was_steered_blamed_and_found_inside(tree: Node, told: ReportOptions):
    steered = {row[0]: row[2:] for row in tree.rows("steering-0")}
    low, high = wilson(28, 30)
    assert steered["memory first"][5] == f"93.3 % [{100 * low:.1f}, {100 * high:.1f}] of 30"
    assert steered["a false fact"][4:6] == ["–", "–"]
    assert steered["a false fact"][6].startswith("80.0 % [")
    blame = pl.read_parquet(Path(told.errors[0]) / "tables" / "blame.parquet").filter(judge="checker")
    blame = blame.join(answers(told, 0), on="id", how="semi")
    row = tree.rows("blame")[0]
    assert row[:4] == ["typed, seed 0", "toy test", "the exact checker", str(len(blame))]
    assert row[4].startswith(f"{len(blame.filter(blame='memory'))} ({percent((blame['blame'] == 'memory').mean())} [")
    assert [each[1] for each in tree.rows("agreement")] == ["what went wrong first", "what a step is"]
    assert tree.rows("causes")[1][:5] == ["swap", "memory", "40", "−2.50", "−2.29"]
    assert [row[0] for row in tree.rows("neurons-memory")] == ["3.0+"]
    assert [row[0] for row in tree.rows("neurons-reason")] == ["3.1-"]
    assert len(tree.all("img")) == 4
    assert tree.rows("paper-accuracy")[14][:3] == ["memory and reason", "Llama-3.1-8B", ".780"]


def test_traces_are_marked_as_checked(tree: Node, told: ReportOptions):
    cards = tree.all("article", class_="trace")
    assert len(cards) == 3 * 10
    shown = {arm: [card for card in cards if card.attributes["data-arm"] == arm] for arm in ("typed", "none", "random")}
    assert {len(found) for found in shown.values()} == {10}
    outcomes = [card.attributes["data-outcome"] for card in shown["random"]]
    wrong = len(answers(told, 4).filter(correct=False))
    assert outcomes.count("right") == 10 - max(5, 10 - (15 - wrong)) if wrong > 5 else 10 - wrong
    for card in cards:
        run = {"typed": 0, "none": 2, "random": 4}[card.attributes["data-arm"] or ""]
        name = card.all("small")[0].text.split(", ")[1]
        checked = pl.read_parquet(Path(told.evaluations[run]) / "tables" / "checked.parquet").filter(id=name)
        items = card.one("ol").all("li")
        assert [bool(item.all("span", class_="false")) for item in items] == [true is False for true in checked["true"]]
        assert [item.attributes["class"] for item in items] == [kind or "other" for kind in checked["kind"]]
    blamed = [card for card in shown["typed"] if card.attributes["data-outcome"] != "right"]
    assert blamed
    assert all("checker: " in card.text for card in blamed)
    assert not any("checker: " in card.text for card in shown["none"])


def test_a_text_cannot_become_part_of_the_page(tree: Node, html: str):
    assert len(tree.all("script")) == 1
    assert all((image.attributes["src"] or "").startswith("data:image/png;base64,") for image in tree.all("img"))
    assert tree.one("section", id="traces").text.count(HOSTILE) > 0
    assert HOSTILE in tree.one("section", id="errors").text
    assert HOSTILE in tree.one("section", id="neurons").text
    assert HOSTILE in [row[0] for row in tree.rows("steering-0")]
    assert "<img src=x" not in html
    assert "innerHTML" not in html
    assert not re.search(r"(src|href|url)\s*[=(]\s*[\"']?(https?:)?//", html)
    policy = next(each for each in tree.all("meta") if "http-equiv" in each.attributes)
    assert (policy.attributes["content"] or "").startswith("default-src 'none'")


def test_a_question_is_text_too_and_what_is_not_named_is_said(workplace: Path):
    hostile = made.items()[0]
    item = hostile._replace(trace=hostile.trace._replace(question=HOSTILE), dataset=f"d {HOSTILE}")
    made.evaluation(
        workplace / "one", [made.answer(item, item.trace, gold=HOSTILE, answer=f"b{HOSTILE}", correct=False)]
    )
    folder = report(ReportOptions(evaluations=(str(workplace / "one"),), out=workplace / "report"))
    html = (folder / "report.html").read_text("utf-8")
    assert "<img src=x" not in html
    tree = read(html)
    assert HOSTILE in tree.one("p", class_="asked").text
    assert [node.text for node in tree.all("p", class_="absent")] == [
        f"Left out: no run of memreason {stage} was named (--{option})."
        for stage, option in (("steer", "steering"), ("errors", "errors"), ("attention", "attention"),
                              ("neurons", "neurons"))
    ]  # fmt: skip
    assert "nothing to compare" in tree.one("section", id="tests").text
    assert pl.read_parquet(folder / "tables" / "pairs.parquet").is_empty()


def test_other_questions_are_refused_and_other_data_stand_apart(workplace: Path):
    one = [made.answer(item, item.trace) for item in made.items()]
    made.evaluation(workplace / "a", one)
    made.evaluation(workplace / "b", [*one[1:], one[0] | {"question": "another"}])
    made.evaluation(workplace / "c", [made.answer(item, item.trace) for item in made.items(dataset="towns")], model="x")
    with pytest.raises(UsageError, match=r"not asked the same questions.*'are Paris and Rome in one country'"):
        Evidence.read(asked(workplace, "a", "b"))
    apart = Evidence.read(asked(workplace, "a", "c"))
    assert [[each.name for each in apart.asked(place)] for place in apart.places] == [
        ["typed, model made"], ["typed, model x"]
    ]  # fmt: skip


def test_what_would_count_twice_is_refused(workplace: Path, told: ReportOptions):
    place = Path(told.evaluations[0])
    started = EvaluateOptions(data=str(place.parent / "data"), model=str(place.parent / "typed0"))
    told_story.evaluated(
        workplace / "again", Path(started.data), Path(started.model), "typed", 0, ("removed", "test")
    )  # fmt: skip
    with pytest.raises(UsageError, match=r"asked-typed0 and again asked the same student the same questions \(toy"):
        Evidence.read(told.model_copy(update={"evaluations": (*told.evaluations, str(workplace / "again"))}))
    with pytest.raises(UsageError, match=r"of memreason.import, not of memreason.evaluate"):
        Evidence.read(told.model_copy(update={"evaluations": (str(place.parent / "data"),)}))


def test_one_student_asked_of_several_data_and_splits_has_a_section_of_each(workplace: Path):
    place, taught = told_story.data(workplace / "data"), told_story.student(workplace / "taught", "typed", 0)
    for split in ("test", "removed"):
        told_story.evaluated(workplace / split, place, taught, "typed", 0, (split,))
    towns = [made.answer(item, item.trace) for item in made.items(dataset="towns")]
    made.evaluation(workplace / "towns", towns, model=str(taught))
    options = asked(workplace, "test", "removed", "towns").model_copy(update={"out": workplace / "report", "shown": 2})
    tree = read((report(options) / "report.html").read_text("utf-8"))
    heads = [node.text for node in tree.one("section", id="accuracy").all("h3")]
    assert heads == ["toy test: 15 questions", "toy removed: 15 questions", "towns test: 15 questions"]
    assert [tree.rows(f"accuracy-{i}")[0][::4] for i in range(3)] == [["typed", "1"]] * 3
    assert [row[::2] for row in tree.rows("arms")] == [["typed", "1 student"]]
    shown = [card.all("small")[0].text.partition(",")[0] for card in tree.all("article", class_="trace")]
    assert shown == ["toy test", "toy test", "toy removed", "toy removed", "towns test", "towns test"]
    made.evaluation(workplace / "again", towns, model=str(taught), data_run="another")
    with pytest.raises(UsageError, match=r"towns and again asked the same student the same questions \(towns test\)"):
        Evidence.read(asked(workplace, "test", "towns", "again"))


def test_students_of_other_data_are_no_seeds_of_one_setting(workplace: Path):
    place = told_story.data(workplace / "data")
    learned = {name: made.traces(workplace / name, made.items("train")[at:]) for at, name in enumerate("ab")}
    for arm, seed, name in (("typed", 0, "a"), ("typed", 1, "a"), ("typed", 0, "b"), ("random", 0, "a"),
                            ("random", 0, "b")):  # fmt: skip
        taught = told_story.student(workplace / f"{arm}{seed}{name}", arm, seed, learned[name])
        told_story.evaluated(workplace / f"asked-{arm}{seed}{name}", place, taught, arm, seed, ("test",))
    runs = ("asked-typed0a", "asked-typed1a", "asked-typed0b", "asked-random0a", "asked-random0b")
    folder = report(asked(workplace, *runs).model_copy(update={"out": workplace / "report"}))
    tree = read((folder / "report.html").read_text("utf-8"))
    section = tree.one("section", id="the-arms")
    assert "trained or asked in other ways" in section.one("p").text
    one, other, third, fourth = (f"{arm}, data {name}" for arm in ("typed", "random") for name in "ab")
    assert [[row[0], *row[2:]] for row in section.rows("arms")] == [
        [one, "2 students", "a"], [other, "1 student", "b"], [third, "1 student", "a"], [fourth, "1 student", "b"]
    ]  # fmt: skip
    compared = [row[0] for row in tree.rows("pairs-0")]
    assert compared[0] == f"{one} against {other}"
    assert compared[-1] == f"{third} against {fourth}"
    assert len(set(compared)) == 6
    pairs = pl.read_parquet(folder / "tables" / "pairs.parquet")
    assert pairs.row(0)[:2] == (f"{one}, seed 0", other)


def test_seeds_count_once_and_data_of_one_name_are_told_apart(workplace: Path):
    place = told_story.data(workplace / "data")
    for name, at, threads in (("a", 0, 1), ("b", 1, 1), ("c", 0, 2)):
        learned = made.traces(workplace / name / "world", made.items("train")[at:])
        taught = told_story.student(workplace / name / "taught", "typed", 0, learned, threads=threads)
        told_story.evaluated(workplace / f"asked-{name}", place, taught, "typed", 0, ("test",))
    found = Evidence.read(asked(workplace, "asked-a", "asked-b")).settings
    names = [re.fullmatch(r"typed, data world \((\w{6})\)", each.name) for each in found]
    assert len({name[1] for name in names if name}) == 2
    with pytest.raises(UsageError, match="asked-a and asked-c asked two students of one setting and seed 0 the same"):
        Evidence.read(asked(workplace, "asked-a", "asked-b", "asked-c"))


def test_what_counts_is_said(tree: Node):
    assert "(steps called memory that state nothing readable are left out" in tree.one("section", id="steps").text
    assert "a missing fact takes precedence" in tree.one("section", id="errors").text


def asked(folder: Path, *names: str) -> ReportOptions:
    values: dict[str, Any] = {"evaluations": tuple(str(folder / name) for name in names)}
    return ReportOptions(**values)
