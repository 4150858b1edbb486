"""Answers, scores and golds. Whatever is known of the original's parser is here, beside what the text really says."""

import math
from fractions import Fraction

import numpy as np
import pytest
from cot_neurons.answers import (
    SENTINEL,
    flexible,
    reference,
    score,
    standard_error,
    stated_answer,
    strict,
    until_next_question,
)
from hypothesis import given
from hypothesis import strategies as st

EIGHT_SHOTS = (
    "Question: q\nLet's think step by step\nThe answer is 1.\n\n" * 8 + "Question: q\nLet's think step by step\n"
)

TABLE = [  # text behind "The answer is ", what the original reads, what it says
    ("18.", 18, "18"),
    ("$1,234.", 1234, "1234"),
    ("12%.", 12, "12"),
    ("-10.", 10, "-10"),
    ("18.50.", 50, "37/2"),
    ("18.00.", 0, "18"),
    ("1/2 = 0.5.", 5, "1/2"),
    ("3/4.", SENTINEL, "3/4"),
    ("(18).", SENTINEL, "18"),
    ("18!", SENTINEL, "18"),
    ("18€", SENTINEL, "18"),
    ("\\boxed{18}.", SENTINEL, "18"),
    ("5 dollars for 3 apples.", 3, "5"),
    ("18.\nQuestion: Tom has 7", 7, "18"),
    ("18.\n\nQ: 4", 4, "18"),
]


@pytest.mark.parametrize(("text", "original", "meant"), TABLE)
def test_reference_reads_as_the_original_does(text, original, meant):
    assert reference(EIGHT_SHOTS + "The answer is " + text) == original


@pytest.mark.parametrize(("text", "original", "meant"), TABLE)
def test_strict_reads_what_it_says(text, original, meant):
    assert strict("The answer is " + text) == Fraction(meant)


def test_reference_looks_behind_the_ninth_marker_whatever_the_prompt():
    one_shot = "The answer is 1.\n\nQuestion: q\n"
    assert reference(one_shot + "The answer is 18.") == SENTINEL
    assert reference(one_shot + "The answer is 18.", shots=1) == 18
    assert reference("The answer is 18.", shots=0) == 18


def test_reference_knows_neither_lower_case_nor_names():
    assert reference(EIGHT_SHOTS + "the answer is 18") == SENTINEL
    assert strict("the answer is 18") == 18
    assert reference(EIGHT_SHOTS + "The answer is Dawson.") == SENTINEL
    assert strict("The answer is Dawson.") is None


def test_reference_cuts_only_at_the_next_question_behind_an_empty_line():
    assert reference(EIGHT_SHOTS + "The answer is 18.\n\nQuestion: Tom has 7") == 18


def test_reference_survives_numbers_beyond_float():
    assert reference("The answer is " + "9" * 400, shots=0) == SENTINEL


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("#### 42", 42),
        ("#### -1,000", -1000),
        ("so \\boxed{\\frac{3}{4}}", Fraction(3, 4)),
        ("The final answer is: **$18.50**", Fraction(37, 2)),
        ("The answer is\n\n7", 7),
        ("The answer is - 10.", -10),
        ("The answer is 3 + 2 = 5.", 5),
        ("The answer is 5. No, the answer is 6.", 5),
        ("The answer is not clear.", None),
        ("The answer is Tom, who has 5.", None),
        ("3 + 2 = 5", None),
        ("", None),
    ],
)
def test_stated_answers(text, expected):
    assert strict(text) == expected


def test_the_place_of_the_stated_answer():
    text = "So 3 + 2 = 5.\nThe answer is $-5.50."
    answer = stated_answer(text)
    assert text[answer.start : answer.end] == "-5.50"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("has 3, then 4 left", 4), ("costs -2.5!", Fraction(-5, 2)), ("no", None), ("5.\nQuestion: Tom has 7", 5)],
)
def test_flexible_takes_the_last_number(text, expected):
    assert flexible(text) == expected


@given(st.decimals(-(10**9), 10**9, places=3))
def test_both_readings_compare_by_value(value):
    right, wrong = Fraction(value), Fraction(value) + Fraction(1, 1000)
    text = f"The answer is {value:,f}."
    assert score(text, right)[2:4] == (True, True)
    assert score(text, wrong)[2:4] == (False, False)


def test_a_decimal_is_not_cut_to_a_whole_number():
    assert not score("The answer is 18.5.", Fraction(18)).correct_strict
    assert score("The answer is 18.00.", Fraction(18)).correct_strict


def test_no_answer_is_never_zero():
    for text in ("", "I do not know."):
        found = score(text, Fraction(0))
        assert (found.strict, found.flexible, found.no_answer) == (None, None, True)
        assert not found.correct_strict
        assert not found.correct_flexible


def test_a_number_without_a_statement_is_no_strict_answer():
    found = score("3 + 2 = 5, 5 - 1 = 3", Fraction(3))
    assert found == (None, "3", False, True, False, 2, 1)


def test_what_is_invented_afterwards_does_not_count():
    found = score("2 + 2 = 4\nThe answer is 4.\n\nQuestion: x 1 + 1 = 3 The answer is 9.", Fraction(4))
    assert (found.flexible, found.equations, found.equations_true) == ("4", 1, 1)
    assert until_next_question("a\nQ: b") == "a"


def test_word_answers():
    found = score("Ann was born in Ostin.\nThe answer is ostin.", "Ostin")
    assert (found.strict, found.correct_strict, found.correct_flexible) == ("ostin", True, True)
    assert not score("The answer is Ostin Hill.", "Ostin").correct_strict
    assert score("...", "Ostin").no_answer


@given(st.integers(2, 200), st.data())
def test_standard_error_is_that_of_the_sample(total, data):
    correct = data.draw(st.integers(0, total))
    sample = np.array([1.0] * correct + [0.0] * (total - correct))
    assert standard_error(correct, total) == pytest.approx(sample.std(ddof=1) / math.sqrt(total))


def test_standard_error_of_one_item_is_unknown():
    assert math.isnan(standard_error(1, 1))
