"""The number grammar against Python's own Fraction and Decimal."""

from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import pytest
from cot_neurons.numbers import canonical, number_at, numbers
from hypothesis import given
from hypothesis import strategies as st

decimals = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=4)


def values(text):
    return [number.value for number in numbers(text)]


@given(
    decimals,
    st.sampled_from(["{:f}", "{:,f}"]),
    st.sampled_from(["{}", "${}", "€ {}", "{}%", "({})", "**{}**.", "is {}, "]),
)
def test_one_number_in_any_dress_has_its_value(value, spelling, dress):
    assert values(dress.format(spelling.format(value))) == [Fraction(value)]


@given(st.integers(-(10**6), 10**6), st.integers(1, 10**6))
def test_fractions(top, bottom):
    assert values(f"{top}/{bottom} of it") == [Fraction(top, bottom)]
    sign = "-" if top < 0 else ""
    assert values(rf"{sign}\frac{{{abs(top)}}}{{{bottom}}}") == [Fraction(top, bottom)]


@given(st.lists(st.integers(0, 10**9), max_size=20))
def test_every_number_of_a_list_is_found_in_order(given_numbers):
    assert values("; ".join(map(str, given_numbers))) == given_numbers


@given(st.text(alphabet="0123456789.,-−+$€%/ ()\\{}frac\n", max_size=80))
def test_places_are_in_order_and_reading_there_again_gives_the_same(text):
    found = list(numbers(text))
    for number in found:
        assert any(c.isdigit() for c in text[number.start : number.end])
    assert all(a.end <= b.start for a, b in pairwise(found))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5-3", [5, 3]),  # a difference, not a negative number
        ("from 5 to -3", [5, -3]),
        ("-$10 and $-10 and −10", [-10, -10, -10]),
        ("+5", [5]),
        ("2 1/2 cups", [Fraction(5, 2)]),
        ("1/2/2020", [1, 2, 2020]),
        ("3/0", [3, 0]),
        (".5 or 0.5", [Fraction(1, 2)] * 2),
        ("well...5", [5]),
        ("1,2345", [1, 2345]),
        ("1,234,567.89", [Fraction("1234567.89")]),
        ("10,20,30", [10, 20, 30]),
        ("18.", [18]),
        ("v1.2.3", [Fraction("1.2"), 3]),
        ("none at all", []),
    ],
)
def test_spellings(text, expected):
    assert values(text) == expected


def test_place_leaves_out_the_currency_but_not_the_sign():
    text = "costs -$12.50%."
    number = next(numbers(text))
    assert text[number.start : number.end] == "-$12.50%"
    text = "costs $12 now"
    number = next(numbers(text))
    assert text[number.start : number.end] == "12"


def test_number_at_reads_only_there():
    assert number_at("a 5", 0) is None
    assert number_at("a 5", 2).value == 5


@given(decimals)
def test_canonical_decimal_is_the_shortest_spelling(value):
    spelled = canonical(Fraction(value))
    assert Decimal(spelled) == value
    assert spelled == (f"{value.normalize():f}" if value else "0")


@given(st.fractions())
def test_canonical_keeps_the_value(value):
    assert Fraction(canonical(value)) == value


def test_a_model_that_repeats_a_digit_for_ever_does_no_harm():
    assert len(values("9" * 10_000)) == 1
