"""How people write numbers: signs, thousands, decimals, currency, percent, fractions.

A value is always an exact `Fraction`, so 18.00 equals 18, 18.5 does not, and 1/3 is not 0.333.
"""

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

CURRENCY = r"(?:\\?[$€£¥₹]\s?)"
PERCENT = r"(?:\s?\\?%)"
# Runs are bounded because a model that repeats one digit can write more of them than int() agrees to read.
INTEGER = r"(?:\d{1,3}(?:,\d{3}){1,99}+(?!\d)|\d{1,300}+)"
DECIMAL = rf"(?:{INTEGER}(?:\.\d{{1,300}}+)?|(?<![\d.])\.\d{{1,300}}+)"

_NUMBER = re.compile(
    rf"""
    (?P<sign>(?<![\w)\]}}%])[-−+](?=\s?[$€£¥₹\\.\d]))?(?:{CURRENCY}(?P<inner_sign>[-−])?)?
    (?<!\d)
    (?:
        \\[dt]?frac\{{(?P<latex_top>\d{{1,300}})\}}\{{(?P<latex_bottom>0*[1-9]\d{{0,300}})\}}
      | (?<!/)(?:(?P<whole>\d{{1,300}}+)[ ])?(?P<top>{INTEGER})/(?P<bottom>0*[1-9]\d{{0,300}}+)(?!/|[.,]\d)
      | (?P<decimal>{DECIMAL})
    )
    {PERCENT}?
    """,
    re.VERBOSE,
)


class Number(NamedTuple):
    """A number in a text: its place [start, end) in characters, without a leading currency sign, and its value."""

    start: int
    end: int
    value: Fraction


def to_number(written: str) -> Fraction:
    """The value of digits with optional thousands commas and decimals, as `DECIMAL` matches them."""
    return Fraction(written.replace(",", ""))


def _number(match: re.Match[str]) -> Number:
    top, bottom = match["top"] or match["latex_top"], match["bottom"] or match["latex_bottom"]
    size = Fraction(int(top.replace(",", "")), int(bottom)) if bottom else to_number(match["decimal"])
    size += int(match["whole"] or 0)
    negative = (match["sign"] or match["inner_sign"] or "+") != "+"
    first_digit = next(match.start(name) for name in ("latex_top", "whole", "top", "decimal") if match[name])
    starts = [match.start(name) for name in ("sign", "inner_sign") if match[name]]
    return Number(min([*starts, first_digit]), match.end(), -size if negative else size)


def numbers(text: str) -> Iterator[Number]:
    """Every number of a text, left to right.

    A minus is a sign only where nothing stands before it to subtract from (`5-3` holds 5 and 3); `12%` is 12,
    since an answer in percent is given as 12; `3/4`, `2 1/2` and `\\frac{3}{4}` are one number each.
    """
    return map(_number, _NUMBER.finditer(text))


def number_at(text: str, position: int) -> Number | None:
    """The number that begins exactly at `position`, if one does."""
    match = _NUMBER.match(text, position)
    return _number(match) if match else None


def canonical(value: Fraction) -> str:
    """One spelling per value: `18`, `-0.5`, and `1/3` where no finite decimal exists."""
    bottom = value.denominator
    places = next((n for n in range(bottom.bit_length() + 1) if 10**n % bottom == 0), None)
    if not places:
        return str(value)
    digits = f"{abs(value.numerator) * 10**places // bottom:0{places + 1}d}"
    return f"{'-' if value < 0 else ''}{digits[:-places]}.{digits[-places:]}"
