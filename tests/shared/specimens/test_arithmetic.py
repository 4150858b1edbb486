"""The word problems: true, deterministic, and honestly held out."""

import ast
import operator
import re
from fractions import Fraction
from functools import cache
from itertools import islice
from random import Random

import pytest
from specimens import arithmetic, names, scenes
from specimens.text import document, split_answer

OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


@cache
def train() -> list[arithmetic.Problem]:
    return list(islice(arithmetic.stream(seed=7), 10_000))


@cache
def asked(axis: arithmetic.Axis) -> list[arithmetic.Problem]:
    return arithmetic.problems(axis, 300)


def all_asked() -> list[arithmetic.Problem]:
    return [p for axis in arithmetic.TEST_AXES for p in asked(axis)]


def every() -> list[arithmetic.Problem]:
    return [*train()[:2000], *all_asked()]


def evaluate(expression: str) -> Fraction:
    """Exact value of an arithmetic expression, by Python's own parser."""

    def value(node: ast.expr) -> Fraction:
        if isinstance(node, ast.BinOp):
            return OPERATORS[type(node.op)](value(node.left), value(node.right))
        assert isinstance(node, ast.Constant)
        return Fraction(node.value)

    return value(ast.parse(expression, mode="eval").body)


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


def numbers(text: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", text)]


def test_every_calculator_mark_is_true_and_said_twice():
    for p in every():
        marks = re.findall(r"<<(.+?)=(\d+)>>(\d+)", p.answer)
        assert len(marks) == p.steps
        for expression, result, shown in marks:
            assert evaluate(expression) == int(result) == int(shown), p.answer


def test_what_is_read_as_an_equation_is_what_is_marked():
    for p in every():
        chain, final = split_answer(p.answer)
        shown = re.findall(r"(\d+ [-+*/] \d+) = (\d+)", chain)
        marked = re.findall(r"<<(.+?)=(\d+)>>", p.answer)
        assert [(a.replace(" ", ""), b) for a, b in shown] == marked
        assert final == shown[-1][1] == marked[-1][1]
        assert p.operators == "".join(re.findall(r"\d ([-+*/]) ", chain))
        assert "<" not in chain


def test_each_chain_starts_from_numbers_of_the_question_and_its_own_results():
    for p in every():
        known = set(numbers(p.question))
        for expression, result in re.findall(r"<<(.+?)=(\d+)>>", p.answer):
            assert set(numbers(expression)) <= known
            known.add(int(result))


def test_documents_have_the_promised_form():
    for p in every():
        lines = document(p.question, p.answer).split("\n")
        assert lines[:2] == [f"Question: {p.question}", "Let's think step by step"]
        assert lines[-1] == f"The answer is {split_answer(p.answer)[1]}."
        assert len(lines) == 3 + p.steps
        assert all(line.endswith(".") for line in lines[2:])
        assert not re.search(r"[{}|]|  ", "".join(lines))


def test_same_seed_same_problems():
    assert arithmetic.problems("in-distribution", 50, seed=3) == arithmetic.problems("in-distribution", 50, seed=3)
    assert arithmetic.problems("in-distribution", 50, seed=3) != arithmetic.problems("in-distribution", 50, seed=4)
    assert list(islice(arithmetic.stream(1), 20)) == list(islice(arithmetic.stream(1), 20))


def test_steps_operators_and_stories_are_all_there():
    assert {p.steps for p in train()} == {1, 2, 3, 4}
    for axis in arithmetic.TEST_AXES:
        assert {p.steps for p in asked(axis)} == {1, 2, 3, 4}
        assert set("".join(p.operators for p in asked(axis))) == set("+-*/")
    pieces = {(s.name, p.name) for s in scenes.scenes() for p in (*s.openings, *s.events)}
    held = {(s.name, p.name) for s in scenes.scenes() for p in (*s.openings, *s.events) if p.held}
    seen = {(t[0], piece) for t in (p.templates.split() for p in train()) for piece in t[1:]}
    assert len(pieces) > 100
    assert seen == pieces - held


def abstract(question: str) -> str:
    """A question with every name replaced: problems that differ in names only are equal."""
    everyone = {p.name for p in (*names.TRAIN, *names.HELD_OUT)}
    return re.sub(r"\b(she|he|him|her)\b", "*", re.sub(r"\w+", lambda m: "*" if m[0] in everyone else m[0], question))


@pytest.mark.parametrize("axis", arithmetic.TEST_AXES)
def test_no_test_question_occurs_in_training_even_under_other_names(axis):
    seen = {abstract(p.question) for p in train()}
    assert len({p.question for p in asked(axis)}) == len(asked(axis))
    assert not seen & {abstract(p.question) for p in asked(axis)}


def test_the_split_is_one_of_stories_with_numbers_not_of_wordings():
    def key(p: arithmetic.Problem) -> tuple[str, ...]:
        return p.templates, *re.findall(r"<<(.+?)>>", p.answer)

    assert not {key(p) for p in train()} & {key(p) for p in all_asked()}


def test_held_out_names_never_occur_in_training():
    held = {p.name for p in names.HELD_OUT}
    assert not held & {p.name for p in names.TRAIN}
    assert not any(held & words(p.question + p.answer) for p in train())
    assert all(held & words(p.question) for p in asked("names"))
    everyday = {p.name for p in names.TRAIN}
    assert not any(everyday & words(p.question) for p in asked("names"))


def test_held_out_templates_never_occur_in_training():
    held = {(s.name, p.name) for s in scenes.scenes() for p in (*s.openings, *s.events) if p.held}

    def has_held(p: arithmetic.Problem) -> bool:
        scene, *pieces = p.templates.split()
        return any((scene, piece) in held for piece in pieces)

    assert not any(map(has_held, train()))
    assert all(map(has_held, asked("templates")))
    assert not any(map(has_held, [*asked("in-distribution"), *asked("names"), *asked("ranges")]))


def test_held_out_ranges_never_occur_in_training():
    def largest(p: arithmetic.Problem) -> int:
        return max(numbers(p.question) + numbers(p.answer))

    assert max(map(largest, train())) <= arithmetic.TOP
    assert min(map(largest, asked("ranges"))) > arithmetic.TOP
    assert max(largest(p) for axis in ("in-distribution", "names", "templates") for p in asked(axis)) <= arithmetic.TOP


def test_a_problem_depends_on_its_generator_only():
    first = [arithmetic.problem(Random(5)) for _ in range(2)]
    assert first[0] == first[1]
