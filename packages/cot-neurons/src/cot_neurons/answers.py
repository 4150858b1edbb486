"""What answer a text gives, and whether it is right.

Two readings side by side, as the field reports GSM8K: *strict*, the number the model states as its answer, and
*flexible*, the last number it wrote. A text that gives none has no answer (None), which is never scored as 0.
`reference` repeats the parser of Rai & Yao (ACL 2024), faults included, so that published numbers can be checked.
"""

import math
import re
from fractions import Fraction
from typing import NamedTuple

from cot_neurons.equations import equations
from cot_neurons.numbers import Number, canonical, number_at, numbers

STOPS = ("\nQuestion:", "\nQ:")  # where a model has begun to invent the next problem
SENTINEL = 234234  # what the original stores for "no answer"

_OPENING = r"(?:[\s:*_(\[\"'`~≈=]|\\boxed\s*\{|\\text\s*\{|\\[(\[]|\\?\$)*"
_STATED = re.compile(rf"(?:\banswer\s+is|\#{{4}}|\\boxed\s*\{{){_OPENING}(?P<minus>[-−]\s*)?", re.IGNORECASE)
_STATED_WORD = re.compile(r"(?:\banswer\s+is|####)[\s:*\"'(]*(?P<word>\w[^\n.!?*\"()]*)", re.IGNORECASE)


def until_next_question(text: str) -> str:
    """The text up to where the model begins another question of its own making."""
    ends = [at for at in map(text.find, STOPS) if at >= 0]
    return text[: min(ends, default=len(text))]


def _settled(text: str, number: Number) -> Number:
    """`number`, or where it opens an equation (`3 + 2 = 5`) the number that equation ends with."""
    line = text[number.start : (text + "\n").index("\n", number.start)]
    equation = next(equations(line), None)
    if equation is None or equation.start > 0 or equation.value is None or equation.parts[-1].tag != "result":
        return number
    last = number_at(text, number.start + equation.parts[-1].start)
    return last or number


def _stated(text: str, marker: re.Match[str]) -> Number | None:
    number = number_at(text, marker.end())
    if number is None:
        return None
    if marker["minus"]:
        return Number(marker.start("minus"), number.end, -number.value)
    return _settled(text, number)


def stated_answer(text: str) -> Number | None:
    """Where and what the first stated answer is: after `The answer is`, after `####`, or in `\\boxed{}`.

    Only punctuation, brackets and currency may stand between the marker and the number.
    """
    found = (_stated(text, marker) for marker in _STATED.finditer(until_next_question(text)))
    return next((number for number in found if number), None)


def strict(text: str) -> Fraction | None:
    """The stated answer's value."""
    number = stated_answer(text)
    return number.value if number else None


def flexible(text: str) -> Fraction | None:
    """The last number before the model begins another question."""
    value = None
    for number in numbers(until_next_question(text)):
        value = number.value
    return value


def reference(text: str, shots: int = 8) -> int:
    """The original's reading of prompt + generation, `SENTINEL` where it finds none.

    It looks behind the marker that follows `shots` demonstrations, blanks letters and `% $ = - .`, and takes the last
    of what is left: signs and decimals are lost, and numbers in an invented next question may win.
    """
    pieces = text.split("The answer is ")
    if len(pieces) <= shots + 1:
        return SENTINEL
    answer = pieces[shots + 1].split("\n\nQuestion:")[0].replace(",", "")
    words = re.sub(r"[A-Za-z%$=.\-]", " ", answer).split()
    try:
        return int(float(words[-1]))
    except (IndexError, ValueError, OverflowError):
        return SENTINEL


def _word(text: str, marker: bool) -> str | None:
    text = until_next_question(text)
    if marker:
        match = _STATED_WORD.search(text)
        return match["word"].strip() if match else None
    return next(iter(re.findall(r"\w+", text)[::-1]), None)


def spell(gold: Fraction | str | None) -> str | None:
    """An answer as it stands in a table."""
    return canonical(gold) if isinstance(gold, Fraction) else gold


class Score(NamedTuple):
    """How one generated text compares with the gold answer; the fields are columns of `tables.Items`."""

    strict: str | None
    flexible: str | None
    correct_strict: bool
    correct_flexible: bool
    no_answer: bool
    equations: int
    equations_true: int


def score(text: str, gold: Fraction | str) -> Score:
    """Score a generated text (without its prompt). A gold word is compared without regard to case.

    `no_answer` says that neither reading found anything; a missing stated answer alone is `strict is None`.
    """
    if isinstance(gold, str):
        stated, last = _word(text, marker=True), _word(text, marker=False)
        right = [word is not None and word.casefold() == gold.casefold() for word in (stated, last)]
    else:
        stated, last = strict(text), flexible(text)
        right = [value == gold for value in (stated, last)]
    holds = [equation.holds for equation in equations(until_next_question(text))]
    missing = stated is None and last is None
    return Score(spell(stated), spell(last), right[0], right[1], missing, len(holds), sum(holds))


def standard_error(correct: int, total: int) -> float:
    """Standard error of the proportion `correct / total`, from the sample deviation; NaN below two items."""
    if total < 2:
        return math.nan
    share = correct / total
    return math.sqrt(share * (1 - share) / (total - 1))


def parse_gold(answer: str) -> Fraction | str:
    """The final answer: what follows the last `####`, or the whole text where there is no such mark.

    A `Fraction` where that is one number (`18`, `$1,234`, `-10.`), else the words as they stand.
    """
    final = answer.rpartition("####")[2].strip().rstrip(".")
    number = number_at(final, 0)
    return number.value if number and number.end == len(final) else final
