"""The whole of GSM8K: golds, the equations of its solutions, and that no demonstration of ours is in it."""

import json
import re

import pytest
from cot_neurons import demonstrations, lint
from cot_neurons.answers import flexible, strict
from cot_neurons.equations import equations
from cot_neurons.problems import GSM8KRow
from cot_neurons.prompts import build

pytestmark = pytest.mark.realdata
SPLITS = {"test": (1319, 2, 2_880_000), "train": (7473, 3, 192_000_000)}  # rows, negative golds, largest gold


@pytest.fixture(scope="module", params=SPLITS)
def split(request, shared_folder):
    lines = (shared_folder / "data" / "gsm8k" / f"{request.param}.jsonl").read_text("utf-8").splitlines()
    return request.param, [GSM8KRow.model_validate(json.loads(line)) for line in lines]


def test_every_gold_is_read(split):
    name, rows = split
    golds = [row.gold for row in rows]
    assert (len(golds), sum(gold < 0 for gold in golds), max(golds)) == SPLITS[name]
    for row, gold in zip(rows, golds, strict=True):
        assert gold == int(row.answer.split("\n#### ")[1].replace(",", ""))


def test_the_gold_solutions_are_right_under_both_readings(split):
    _, rows = split
    for row in rows:
        assert strict(row.answer) == row.gold
        assert flexible(row.answer) == row.gold


def test_the_equations_of_the_solutions_hold(split):
    """At least 99 % of what is found without the calculator marks, and it finds as many as there are marks."""
    _, rows = split
    marks = sum(row.answer.count("<<") for row in rows)
    holds = [e.holds for row in rows for e in equations(re.sub(r"<<.*?>>", "", row.answer))]
    assert len(holds) > 0.99 * marks
    assert sum(holds) > 0.99 * len(holds)


def test_the_calculator_marks_hold(split):
    """The marks are a calculator's work: all with + - * / are found, and hold, rounding included."""
    _, rows = split
    marks = [mark for row in rows for mark in re.findall(r"<<(.*?)>>", row.answer)]
    sums = [mark for mark in marks if re.search(r"[\d)%][-+*/]", mark) and not re.search(r"//|\*\*|\^", mark)]
    assert len(sums) > 0.98 * len(marks)
    odd = {mark for mark in sums if [e.holds for e in equations(mark)] != [True]}
    assert odd <= {"3*+6=18"}  # the one slip of the pen in 28,000


def test_no_demonstration_of_ours_is_in_it(split):
    name, rows = split
    made = [build(variant, 8) for variant in ("cot", "add_only", "mult_only")]
    questions = [row.question for row in rows]
    assert sum(len(lint.demos(prompt.template)) for prompt in made) == 3 * 8
    assert lint.leaks(made, questions, demonstrations.OWN, name) == []
    copied = questions[7].replace("?", " ?").upper()
    planted = f"Question: {copied}\nLet's think step by step\nThe answer is 1.\n\n"
    leaking = build("cot", 0)
    leaking = type(leaking)("mine", 1, 0, planted + leaking.template)
    assert len(lint.leaks([leaking], questions, "mine", name)) >= 1
