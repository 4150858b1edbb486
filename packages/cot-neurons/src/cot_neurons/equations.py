"""Find the equations of a chain of thought, evaluate them exactly, and say whether they hold.

A small reader of its own: tokens, then a chain of operands and operators folded with the usual precedence. Nothing is
ever handed to `eval`, and the work is linear in the length of the text.
"""

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from cot_neurons.numbers import CURRENCY, DECIMAL, PERCENT, to_number

_MIXED = r"(?P<whole>\d{1,9})[ ](?P<top>\d{1,9})/(?P<bottom>0*[1-9]\d{0,8}+)(?!/)"
_TOKEN = re.compile(
    rf"""
    (?P<number>{CURRENCY}?(?P<digits>{_MIXED}|{DECIMAL})(?P<percent>{PERCENT})?)
  | (?P<operator>[-+*/×÷·−–]|\\(?:times|cdot|div)\b|[xX](?![^\W\d_]))
  | (?P<equals>=) | (?P<open>\() | (?P<close>\))
  | (?P<word>[^\W\d_]+(?:['’-][^\W\d_]+)*)
  | (?P<space>[ \t]+|<<|>>)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_SPELLINGS = {"*": ("×", "·", "\\times", "\\cdot", "x", "X"), "/": ("÷", "\\div"), "-": ("−", "–")}
_OPERATOR = {spelling: operator for operator, spellings in _SPELLINGS.items() for spelling in spellings}
_MAX_DEPTH = 8  # of brackets: keeps the reader linear on "((((((..."
_MAX_UNIT_WORDS = 3  # "3 boxes of apples * 4 = 12"


class Part(NamedTuple):
    """Characters [start, end) of an equation and what they are: operand, operator, equals or result."""

    start: int
    end: int
    tag: str


class Equation(NamedTuple):
    """One equation in a text.

    `expression` is the left side as written, `operators` the operators of all sides as + - * /, `value` what the last
    side comes to (None: division by zero), `holds` whether all sides agree, `parts` its pieces in order.
    """

    start: int
    end: int
    expression: str
    operators: tuple[str, ...]
    value: Fraction | None
    holds: bool
    parts: tuple[Part, ...]


class _Token(NamedTuple):
    kind: str
    start: int  # of the digits, where a currency sign stands before them
    end: int
    value: Fraction | None = None
    places: int = 0  # decimals shown
    percent: bool = False
    operator: str = ""


class _Side(NamedTuple):
    value: Fraction | None
    parts: tuple[Part, ...]
    operators: tuple[str, ...]
    first: _Token
    next: int  # index of the token after it


def _value(match: re.Match[str]) -> Fraction:
    if match["whole"]:
        return int(match["whole"]) + Fraction(int(match["top"]), int(match["bottom"]))
    return to_number(match["digits"])


def _token(match: re.Match[str]) -> _Token:
    kind = match.lastgroup or "other"
    if kind == "number":
        digits, percent = match["digits"], match["percent"] is not None
        value = _value(match) / (100 if percent else 1)
        return _Token(kind, match.start("digits"), match.end(), value, len(digits.partition(".")[2]), percent)
    operator = _OPERATOR.get(match[0], match[0]) if kind == "operator" else ""
    return _Token(kind, match.start(), match.end(), operator=operator)


def _tokens(text: str) -> list[_Token]:
    # lastgroup names the last group closed, which for a number is the outer one
    found = [_token(match) for match in _TOKEN.finditer(text) if match.lastgroup != "space"]
    return [*found, _Token("end", len(text), len(text))]


def _apply(operator: str, left: Fraction | None, right: Fraction | None) -> Fraction | None:
    if left is None or right is None or (operator == "/" and right == 0):
        return None
    return left * right if operator == "*" else left / right


def _fold(values: Sequence[Fraction | None], operators: Sequence[str]) -> Fraction | None:
    """`values` joined by `operators`, products before sums; None where undefined."""
    terms = [values[0]]
    for operator, value in zip(operators, values[1:], strict=True):
        if operator in "*/":
            terms[-1] = _apply(operator, terms[-1], value)
        else:
            terms.append(-value if operator == "-" and value is not None else value)
    defined = [term for term in terms if term is not None]
    return sum(defined, Fraction(0)) if len(defined) == len(terms) else None


def _is_sign(tokens: Sequence[_Token], at: int) -> bool:
    return tokens[at].operator == "-" and tokens[at + 1].kind == "number" and tokens[at].end == tokens[at + 1].start


def _is_variable(number: _Token, word: _Token) -> bool:
    """Whether a number has an unknown behind it, as in `4c`."""
    return word.kind == "word" and number.end == word.start and word.end - word.start == 1


def _after_units(tokens: Sequence[_Token], at: int) -> int:
    """The index after words such as `apples` or `dollars/hour`, if an operator, `=` or `)` follows them; else `at`."""
    end, words = at, 0
    while words < _MAX_UNIT_WORDS:
        step = 2 if tokens[end].operator == "/" and tokens[end + 1].kind == "word" else 1
        if tokens[end + step - 1].kind != "word":
            break
        end, words = end + step, words + 1
    return end if tokens[end].kind in ("operator", "equals", "close") else at


def _factor(tokens: Sequence[_Token], at: int, units: bool, depth: int) -> _Side | None:
    """A number, a negative number or a bracket."""
    token = tokens[at]
    if token.kind == "open" and depth < _MAX_DEPTH:
        inner = _chain(tokens, at + 1, True, depth + 1)
        if inner is None or tokens[inner.next].kind != "close":
            return None
        found = inner._replace(first=token, next=inner.next + 1)
    elif _is_sign(tokens, at):
        value = tokens[at + 1].value
        number = tokens[at + 1]._replace(start=token.start, value=None if value is None else -value)
        found = _Side(number.value, (Part(number.start, number.end, "operand"),), (), number, at + 2)
    elif token.kind == "number" and not _is_variable(token, tokens[at + 1]):
        found = _Side(token.value, (Part(token.start, token.end, "operand"),), (), token, at + 1)
    else:
        return None
    return found._replace(next=_after_units(tokens, found.next)) if units else found


def _chain(tokens: Sequence[_Token], at: int, units: bool, depth: int = 0) -> _Side | None:
    """Factors joined by operators; a bracket right behind a factor, `2(3 + 4)`, multiplies."""
    first = factor = _factor(tokens, at, units, depth)
    if first is None:
        return None
    values, joins, parts, operators = [first.value], [], list(first.parts), list(first.operators)
    end = first.next
    while True:
        token = tokens[end]
        implied = token.kind == "open" and tokens[end - 1].end == token.start
        if token.kind != "operator" and not implied:
            break
        factor = _factor(tokens, end if implied else end + 1, units, depth)
        if factor is None:
            break
        join = "*" if implied else token.operator
        parts += [] if implied else [Part(token.start, token.end, "operator")]
        parts += factor.parts
        operators += [join, *factor.operators]
        joins.append(join)
        values.append(factor.value)
        end = factor.next
    return _Side(_fold(values, joins), tuple(parts), tuple(operators), first.first, end)


def _agree(left: _Side, right: _Side) -> bool:
    """Equal, or equal to the last decimal a bare number shows (10 / 3 = 3.33); `40%` is read as 0.4 and as 40."""
    if left.value is None or right.value is None:
        return False
    for bare, other in ((left, right.value), (right, left.value)):
        shown, number = bare.value, bare.first
        if bare.operators or shown is None:
            continue
        for size in (1, 100) if number.percent else (1,):
            unit = Fraction(size, 10**number.places * (100 if number.percent else 1))
            if abs(shown * size - other) <= (unit / 2 if number.places else 0):
                return True
    return left.value == right.value


def _tagged(side: _Side) -> tuple[Part, ...]:
    return side.parts if side.operators else tuple(part._replace(tag="result") for part in side.parts)


def _sides(tokens: Sequence[_Token], at: int) -> list[_Side]:
    """The sides of an equation that begins at token `at`. The last side takes no unit words: in `= 5 cars - 2 of them`
    the sentence has gone on."""
    first = _chain(tokens, at, units=True)
    sides = [first] if first else []
    while sides and tokens[sides[-1].next].kind == "equals":
        start = sides[-1].next + 1
        side = _chain(tokens, start, units=True)
        if side and tokens[side.next].kind != "equals":
            side = _chain(tokens, start, units=False)
        if side is None:
            break
        sides.append(side)
    return sides


def _equation(text: str, tokens: Sequence[_Token], sides: Sequence[_Side]) -> Equation:
    parts = list(_tagged(sides[0]))
    for before, side in pairwise(sides):
        equals = tokens[before.next]
        parts += [Part(equals.start, equals.end, "equals"), *_tagged(side)]
    start, end = sides[0].first.start, tokens[sides[-1].next - 1].end
    expression = text[start : tokens[sides[0].next - 1].end]
    operators = tuple(operator for side in sides for operator in side.operators)
    holds = all(_agree(left, right) for left, right in pairwise(sides))
    return Equation(start, end, expression, operators, sides[-1].value, holds, tuple(parts))


def _may_start(tokens: Sequence[_Token], at: int) -> bool:
    """Not in the middle of a larger expression, such as `x + 3 * 5`, whose beginning cannot be read."""
    token, before = tokens[at], tokens[at - 1] if at else None
    if token.kind == "operator":
        return _is_sign(tokens, at) and (before is None or before.end < token.start)
    if token.kind not in ("number", "open"):
        return False
    dangling = before is not None and before.kind == "operator"
    return not (dangling and at > 1 and tokens[at - 2].kind in ("word", "number", "close", "operator"))


def equations(text: str) -> Iterator[Equation]:
    """Every equation of a text, left to right: `3 + 2 = 5`, `$3 * 4 = $12`, `5 x 3 = 15`, `(3+4)/2 = 7/2 = 3.5`.

    Operators are + - * / and their typographic and LaTeX forms; `20%` is 0.2. A number that shows decimals holds when
    it is right to its last digit, a whole number only when exact. Statements without an operator (`x = 5`) and algebra
    (`4c - 2 = 10`) are not equations.
    """
    tokens, at = _tokens(text), 0
    while at < len(tokens) - 1:
        sides = _sides(tokens, at) if _may_start(tokens, at) else []
        if len(sides) > 1 and any(side.operators for side in sides):
            yield _equation(text, tokens, sides)
        at = max(at + 1, sides[-1].next if sides else 0)


def evaluate(expression: str) -> Fraction | None:
    """What an expression such as `3 * (4 + 5)` comes to; None where it cannot be read or is undefined."""
    tokens = _tokens(expression)
    side = _chain(tokens, 0, units=False)
    return side.value if side and tokens[side.next].kind == "end" else None
