"""The stage as a whole, and what counts as obeyed, meant and followed."""

from pathlib import Path

import polars as pl
import pytest
from memreason import grading, tables
from memreason.data import Data
from memreason.options import SteerOptions
from memreason.steer import steer
from memreason.steering.interventions import Intervention
from memreason.steering.obeying import obeyed, told
from memreason.steering.rules import Rules
from memreason.trace import Item, Step, Trace
from memreason.world import World
from runkit import journal
from runkit.errors import DataError, UsageError

from tests.packages.memreason import made, toy_student
from tests.packages.memreason.test_evaluate_numbers import OLDER, WORLD

pytestmark = pytest.mark.usefixtures("workplace")

FACT = "Ann was born in 1900"
FALSE = "Ann was born in 1901"
STEPS = (Step("memory", FACT), Step("memory", "hm"), Step("reason", "so 1900 compared to 1901 is earlier"))
CONTENTS = ("memory", "other", "reason")


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (Rules(), (0, 0, 0)),
        (Rules(force=("memory", "memory", "reason")), (3, 3, 2)),
        (Rules(force=("reason", "memory")), (2, 1, 0)),
        (Rules(force=("memory",) * 4), (4, 2, 1)),
        (Rules(forbid=("memory",)), (1, 0, 0)),
        (Rules(caps={"memory": 2, "reason": 0}), (2, 1, 1)),
        (Rules(force=("memory", "memory"), supplied=(FACT, "hm")), (2, 2, 1)),
        (Rules(force=("memory", "memory"), supplied=(FACT, "ah")), (2, 1, 1)),
        (Rules(supplied=(FACT, "hm")), (2, 2, 1)),
    ],
)
def test_demands_are_counted_by_label_and_by_content(rules: Rules, expected: tuple[int, int, int]):
    assert obeyed(rules, STEPS, CONTENTS) == expected
    assert obeyed(rules, STEPS, None) == (*expected[:2], None)


def test_a_forbidden_kind_that_is_written_under_another_label_is_obeyed_but_not_meant():
    steps = (Step("reason", FACT),)
    assert obeyed(Rules(forbid=("memory",)), steps, ["memory"]) == (1, 1, 0)


def test_a_row_of_the_table_by_hand():
    items = [Item(str(i), "toy", "test", Trace(OLDER, (), "yes"), ("yes", "no")) for i in range(3)]
    said = [("no", FALSE), ("yes", FALSE), (None, "hm")]
    rows = [
        made.answer(item, Trace(OLDER, (), answer)) | {"kinds": ["memory"], "texts": [text]}
        for item, (answer, text) in zip(items, said, strict=True)
    ]
    way = Intervention(
        "false fact",
        {item.id: Rules(force=("memory",), supplied=(FALSE,)) for item in items},
        {item.id: "no" for item in items},
    )
    row = told("false fact", way, grading.frame(rows), WORLD)
    assert (row["n"], row["accuracy"], row["invalid"], row["followed"]) == (3, 1 / 3, 1 / 3, 1)
    assert (row["asked"], row["obeyed"], row["meant"]) == (3, 2, 2)
    assert told("x", way, grading.frame(rows), None)["meant"] is None


def _options(**given: object) -> SteerOptions:
    return SteerOptions.model_validate({"data": "data", "model": "student", "max_new_tokens": 48, **given})


def _table(folder: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(folder / "tables" / f"{name}.parquet")


@pytest.fixture
def world(workplace: Path) -> World:
    toy = toy_student.world(workplace / "data")
    toy_student.student(workplace / "student", toy)
    return World.load(toy / "world.json")


@pytest.mark.usefixtures("drawn")
def test_every_way_is_tried_on_every_question(workplace: Path, world: World, capsys):
    folder = steer(_options(splits="test,removed", force="reason,memory", cap_reason=1, out=workplace / "run"))
    answers = tables.Steered.validate(_table(folder, "answers"))
    table = tables.Interventions.validate(_table(folder, "interventions"))
    whole = table.filter(~pl.col("name").str.contains("/"))
    assert whole["name"].to_list() == [
        "none", "asked", "first memory", "first reason", "memory off", "reason off", "facts supplied", "false fact",
    ]  # fmt: skip
    assert len(table) == 3 * len(whole)
    assert "neither is forced" not in capsys.readouterr().err
    asked = answers.filter(intervention="asked")["kinds"].to_list()
    assert all(kinds[:2] == ["reason", "memory"][: len(kinds)] for kinds in asked)
    assert all(kinds.count("reason") <= 1 for kinds in asked)
    of = {row["name"]: row for row in table.to_dicts()}
    n = of["none"]["n"]
    for name, kind in (("first memory", "memory"), ("first reason", "reason")):
        assert {kinds[0] for kinds in answers.filter(intervention=name)["kinds"].to_list()} == {kind}
        assert (of[name]["asked"], of[name]["obeyed"], of[name]["meant"]) == (n, n, 0), "noise says neither"
    for name, kind in (("memory off", "memory"), ("reason off", "reason")):
        assert kind not in answers.filter(intervention=name)["kinds"].explode().to_list()
        assert of[name]["obeyed"] == n
    _check_supplied(answers, of, world)
    events = [event["values"] for event in journal.intact(folder / "journal.jsonl") if event["event"] == "metrics"]
    metrics = {name: value for values in events for name, value in values.items()}
    assert metrics["obeyed/first reason"] == 1
    assert {"meant/first memory", "accuracy/memory off", "followed/false fact", "followed/none"} <= set(metrics)
    ids = answers.filter(intervention="false fact")["id"]
    plain = answers.filter(pl.col("intervention") == "none", pl.col("id").is_in(ids.implode()))["correct"].mean()
    assert metrics["change/false fact"] == pytest.approx(metrics["accuracy/false fact"] - plain)
    assert metrics["p/false fact"] <= 1
    assert (folder / "figures" / "steering.png").stat().st_size > 10_000


def _check_supplied(answers: pl.DataFrame, of: dict[str, dict], world: World) -> None:
    needed = 0
    for question, texts in answers.filter(intervention="facts supplied").select("question", "texts").iter_rows():
        facts = world.facts(question)
        assert texts[: len(facts)] == facts
        assert world.missing(question, [Step("", text) for text in texts]) == []
        needed += len(facts)
    supplied = of["facts supplied"]
    assert (supplied["asked"], supplied["obeyed"], supplied["meant"]) == (needed,) * 3
    misled = answers.filter(intervention="false fact")
    assert len(misled) == of["false fact"]["n"] > 0
    for question, texts in misled.select("question", "texts").iter_rows():
        override = world.override(question)
        place = texts.index(override.fact)
        assert texts[:place] == world.facts(question)[:place]
        (verdict,) = world.check(question, [Step("memory", override.fact)])
        assert verdict.content == "memory"
        assert verdict.true is False


def test_facts_of_ones_own(workplace: Path):
    made.traces(workplace / "data")
    made.student(workplace / "student", arm="hard")
    ids = [item.id for item in Data.open("data").split("test")[:3]]
    lines = [f"{ids[2]},Ulm lies in Germany", f"{ids[0]},Milan lies in Italy", f"{ids[0]},Rome lies in Italy",
             "dev-Bonn-Lyon,Lyon lies in France"]  # fmt: skip
    Path("facts.csv").write_text("\n".join(["id,fact", *lines]) + "\n")
    folder = steer(_options(facts="facts.csv", probes=False, out=workplace / "run"))
    answers = _table(folder, "answers").filter(intervention="asked")
    assert answers["id"].to_list() == [ids[0], ids[2]], "only these have facts"
    assert answers["texts"][0].to_list()[:2] == ["Milan lies in Italy", "Rome lies in Italy"]
    assert answers["kinds"][0].to_list()[:2] == ["memory", "memory"]
    table = _table(folder, "interventions")
    assert table.select("name", "n", "asked", "obeyed", "meant").rows() == [
        ("none", 15, 0, 0, None), ("asked", 2, 3, 3, None),
    ]  # fmt: skip


def test_an_arm_without_kinds_is_still_told_facts(workplace: Path, capsys):
    toy = toy_student.world(workplace / "data")
    toy_student.student(workplace / "student", toy, arm="uniform")
    folder = steer(_options(limit=4, out=workplace / "run"))
    assert "arm uniform does not write memory and reason before its steps" in capsys.readouterr().err
    table = _table(folder, "interventions")
    assert table["name"].to_list() == ["none", "facts supplied", "false fact"]
    assert table["obeyed"].to_list() == table["asked"].to_list()
    assert table["meant"].to_list()[1:] == table["asked"].to_list()[1:]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("test-Paris-Room,x", "has no question test-Paris-Room; did you mean 'test-Paris-Rome'"),
        ("dev-Bonn-Lyon,x", "none is about a question of test that is asked"),
    ],
)
def test_facts_about_other_questions_are_refused(workplace: Path, rows: str, says: str):
    made.traces(workplace / "data")
    Path("facts.csv").write_text(f"id,fact\n{rows}\n")
    with pytest.raises(UsageError, match=says):
        steer(_options(facts="facts.csv", out=workplace / "run"))


def test_what_cannot_be_steered_is_refused(workplace: Path):
    made.traces(workplace / "data")
    made.student(workplace / "student", arm="none", general=0, special=0)
    with pytest.raises(UsageError, match="arm none cannot be steered by the kind memory"):
        steer(_options(force="memory", out=workplace / "a"))
    with pytest.raises(UsageError, match="a student of arm none writes neither memory nor reason"):
        steer(_options(out=workplace / "b"))
    with pytest.raises(UsageError, match=r"give --force, --forbid, .* or --probes"):
        steer(_options(probes=False, out=workplace / "c"))
    Path("facts.csv").write_text("id,fact\ntest-Paris-Rome,\n")
    with pytest.raises(DataError, match=r"(?s)facts\.csv.*row 2, field .fact."):
        steer(_options(facts="facts.csv", out=workplace / "d"))
