"""Equations against Python's own arithmetic on exact fractions."""

import gc
import re
import time
from fractions import Fraction
from itertools import pairwise

import pytest
from cot_neurons.equations import equations, evaluate
from hypothesis import given
from hypothesis import strategies as st

numerals = st.one_of(st.integers(0, 999).map(str), st.decimals(0, 99, places=2).map(str))


def joined(parts):
    return st.builds(lambda a, sign, b: f"{a} {sign} {b}", parts, st.sampled_from("+-*/"), parts)


expressions = st.recursive(numerals, lambda inner: joined(inner) | joined(inner).map(lambda e: f"({e})"), max_leaves=8)


def by_python(expression):
    """The value Python itself gives, with every numeral an exact fraction."""
    try:
        return eval(re.sub(r"[\d.]+", lambda m: f"Fraction('{m[0]}')", expression), {"Fraction": Fraction})
    except ZeroDivisionError:
        return None


@given(expressions)
def test_evaluates_as_python_does(expression):
    assert evaluate(expression) == by_python(expression)


@given(expressions.filter(lambda e: any(sign in e for sign in "+-*/")), st.integers(0, 10**6))
def test_an_equation_holds_just_when_python_says_so(expression, claimed):
    value = by_python(expression)
    claims = [claimed] if value is None or value.denominator > 1 or value < 0 else [claimed, value]
    for claim in claims:
        (found,) = equations(f"So there are {expression} = {claim} of them.")
        assert found.holds == (value == claim)
        assert found.value == claim
        assert found.expression == expression


def seen(text):
    return [(text[e.start : e.end], e.operators, e.value, e.holds) for e in equations(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3 + 2 = 5", [("3 + 2 = 5", ("+",), 5, True)]),
        ("so 3+2=5.", [("3+2=5", ("+",), 5, True)]),
        ("$3 * 4 = $12", [("3 * 4 = $12", ("*",), 12, True)]),
        ("5 x 3 = 15 and 5x3=16", [("5 x 3 = 15", ("*",), 15, True), ("5x3=16", ("*",), 16, False)]),
        ("2 + 3 + 4 = 9", [("2 + 3 + 4 = 9", ("+", "+"), 9, True)]),
        ("2*3+4 = 6+4 = 10", [("2*3+4 = 6+4 = 10", ("*", "+", "+"), 10, True)]),
        ("1,200 / 2.5 = 480", [("1,200 / 2.5 = 480", ("/",), 480, True)]),
        ("12 − 7 = 5; 3 × 4 = 12; 8 ÷ 2 = 4", [
            ("12 − 7 = 5", ("-",), 5, True), ("3 × 4 = 12", ("*",), 12, True), ("8 ÷ 2 = 4", ("/",), 4, True)]),
        (r"\( 3 \times 4 = 12 \)", [(r"3 \times 4 = 12", ("*",), 12, True)]),
        ("3 apples + 2 apples = 5 apples", [("3 apples + 2 apples = 5", ("+",), 5, True)]),
        ("15 dollars/hour * 3 hours = $45.", [("15 dollars/hour * 3 hours = $45", ("*",), 45, True)]),
        ("3 + 2 = 5 cars - 2 of them red", [("3 + 2 = 5", ("+",), 5, True)]),
        ("-5 + 3 = -2", [("-5 + 3 = -2", ("+",), -2, True)]),
        ("- 5 + 3 = 8", [("5 + 3 = 8", ("+",), 8, True)]),
        ("5 = 3 + 2", [("5 = 3 + 2", ("+",), 5, True)]),
        ("2(3 + 4) = 14", [("2(3 + 4) = 14", ("*", "+"), 14, True)]),
        ("20% * 50 = 10", [("20% * 50 = 10", ("*",), 10, True)]),
        ("20 / 50 = 40%", [("20 / 50 = 40%", ("/",), Fraction(2, 5), True)]),
        ("20 / 50 * 100 = 40%", [("20 / 50 * 100 = 40%", ("/", "*"), Fraction(2, 5), True)]),
        ("5 - 1 - 1/2 = 3 1/2", [("5 - 1 - 1/2 = 3 1/2", ("-", "-", "/"), Fraction(7, 2), True)]),
        ("10 / 3 = 3.33", [("10 / 3 = 3.33", ("/",), Fraction("3.33"), True)]),
        ("10 / 3 = 3.34", [("10 / 3 = 3.34", ("/",), Fraction("3.34"), False)]),
        ("10 / 3 = 3", [("10 / 3 = 3", ("/",), 3, False)]),
        ("5 / 0 = 5", [("5 / 0 = 5", ("/",), 5, False)]),
        ("4c - 2 = 10, x + 5 * 3 = 20, 2x + 3 = 7, X*4 = 8", []),
        ("x = 5, 5 = 5, 3 + 2, = 5, 2020", []),
        ("((((((((((((1 + 2 = 3", [("1 + 2 = 3", ("+",), 3, True)]),
        ("3 + 2 =\n5", []),
    ],
)  # fmt: skip
def test_finds(text, expected):
    assert seen(text) == expected


@pytest.mark.parametrize(
    "text", ["__import__('os')", "9**9**9", "1 + ", "", "(1 + 2", "1 + 2 = 3", "3 apples + 2", "1_000 + 1"]
)
def test_evaluate_reads_arithmetic_only(text):
    assert evaluate(text) is None


@given(st.text(alphabet="0123456789+-*/x=()$%., ab\n\\<>", max_size=60))
def test_any_text_is_read_and_parts_are_in_order(text):
    parts = [part for equation in equations(text) for part in equation.parts]
    assert all(a.end <= b.start for a, b in pairwise(parts))
    assert all(part.start < part.end for part in parts)


@pytest.mark.parametrize("unit", ["(", "1+", "3 + 2 = ", "5 a ", "1,", "9", "-", "((1+", "=1"])
def test_work_grows_with_the_length_and_no_faster(unit):
    def seconds(count):
        text, best = unit * count, 9.0
        for _ in range(3):
            start = time.process_time()
            list(equations(text))
            best = min(best, time.process_time() - start)
        return best

    gc.disable()  # else what other tests left in memory is part of the measurement
    try:
        assert seconds(8_000) < 20 * seconds(1_000) + 0.02  # 8 times the text; 64 times the work if it were quadratic
    finally:
        gc.enable()
