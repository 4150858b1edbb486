"""Faults of prompts: wrong arithmetic, lost markers, demonstrations and query written differently, leaked questions.

A fault says file, variant, demonstration (from 1; 0 is the whole prompt), field, what is wrong, and the fix.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from cot_neurons.answers import stated_answer
from cot_neurons.demonstrations import POOLS, Demo, Labels, Source
from cot_neurons.equations import Equation, equations, evaluate
from cot_neurons.numbers import numbers

if TYPE_CHECKING:
    from cot_neurons.prompts import Prompt

SLOT = "{question}"
MARKER = "The answer is"
GRAM = 13  # words in a row that are no accident: the length used for contamination checks since GPT-3
_CURLY = re.compile("[‘’“”]")
_SPACES = re.compile(r"[ \t]+$|\t| {2,}", re.MULTILINE)


class Fault(NamedTuple):
    """One row of `tables.Lint`."""

    file: str
    variant: str
    demo: int
    field: str
    what: str
    fix: str


class _Parts(NamedTuple):
    """A demonstration as written: `rest` is what follows the separator; `separated` whether it is the query's own."""

    question: str
    rest: str
    separated: bool


Note = tuple[str, str, str]  # field, what, fix


def spell(fault: Fault) -> str:
    """A fault as one line of text."""
    place = f"demonstration {fault.demo}" if fault.demo else "whole prompt"
    return f"{fault.file} ({fault.variant}), {place}, {fault.field}: {fault.what}; {fault.fix}"


def demos(template: str) -> list[str]:
    """The demonstrations of a template: its blocks between empty lines, less the query and what introduces them."""
    opening = _query(template)[0]
    blocks = re.split(r"\n{2,}", template.partition(SLOT)[0].removesuffix(opening).strip("\n"))
    while blocks and not blocks[0].startswith(opening or "\0") and not _answers(blocks[0]):
        blocks.pop(0)
    return blocks


def _answers(block: str) -> bool:
    return stated_answer(block) is not None or re.search(rf"^{MARKER} ", block, re.MULTILINE) is not None


def _query(template: str) -> tuple[str, str]:
    """What stands before and behind the question in the query."""
    before, _, after = template.partition(SLOT)
    return before.rpartition("\n")[2], after


def prompt(made: "Prompt", file: str) -> list[Fault]:
    """Faults of a prompt as text, whatever it was made from."""
    opening, separator = _query(made.template)
    found = [Fault(file, made.variant, 0, *note) for note in _layout(made.template)]
    for number, block in enumerate(demos(made.template), 1):
        parts = _split(block, opening, separator)
        notes = [*_form(block, parts, opening, separator), *_spelling(block), *_arithmetic(parts.rest, made.labels)]
        found += [Fault(file, made.variant, number, *note) for note in notes]
    return found


def _layout(template: str) -> Iterator[Note]:
    if re.search(r"\n{3,}", template):
        yield "separator", "two or more empty lines in a row", "leave one empty line between demonstrations"
    if _CURLY.search(template.partition(SLOT)[2]):
        yield "query", "curly apostrophe or quotation mark", "write ' and \", as the questions do"


def _split(block: str, opening: str, separator: str) -> _Parts:
    question, found, rest = block.removeprefix(opening).partition(separator)
    if found:
        return _Parts(question, rest, True)
    question, _, rest = block.removeprefix(opening).partition("\n")
    return _Parts(question, rest, False)


def _form(block: str, parts: _Parts, opening: str, separator: str) -> Iterator[Note]:
    """The demonstration is written as the query is, and ends in its answer."""
    if not block.startswith(opening):
        yield "question", f"begins {block[:20]!r}, the query {opening!r}", "begin both alike; no empty lines inside"
    if not parts.separated:
        yield "separator", f"no {separator!r} behind the question as in the query", "write both alike"
    if parts.separated and "\n" in parts.question:
        yield "question", "goes over several lines", "write it on one line, as the query's will be"
    if (count := block.count(MARKER)) != 1:
        yield (
            "answer",
            f"{count} times {MARKER!r}",
            "state the answer once, and end the demonstration with an empty line",
        )
    elif not re.search(rf"(?:^|\n){MARKER} [^\n]+\.$", block):
        yield "answer", f"does not end in a line '{MARKER} N.'", "make that its last line"


def _spelling(block: str) -> Iterator[Note]:
    if curly := _CURLY.search(block):
        yield "text", f"curly {curly[0]}", "write ' and \", as the query does"
    if _SPACES.search(block):
        yield "text", "a tab, double space, or space at the end of a line", "write single spaces"
    for equation in equations(block):
        if not _evenly_spaced(block, equation):
            yield "equation", f"{_written(block, equation)!r} is unevenly spaced", "one space on each side of its signs"


def _written(text: str, equation: Equation) -> str:
    return text[equation.start : equation.end]


def _evenly_spaced(text: str, equation: Equation) -> bool:
    signs = [part for part in equation.parts if part.tag in ("operator", "equals")]
    return len({text[side].isspace() for part in signs for side in (part.start - 1, part.end)}) == 1


def _arithmetic(rest: str, labels: Labels) -> Iterator[Note]:
    """Equations hold (or, where labels are wrong on purpose, none does), and the answer is what the chain came to."""
    chain, _, answer = rest.rpartition(MARKER)
    answer = answer.strip().removesuffix(".")
    found = list(equations(chain))
    for equation in found:
        written = _written(chain, equation)
        if labels == "wrong" and equation.holds:
            yield "equation", f"{written!r} is true among wrong labels", "make it wrong, or use the cot variant"
        if labels == "true" and not equation.holds:
            value = evaluate(equation.expression)
            yield "equation", f"{written!r} is false", f"the left side is {'undefined' if value is None else value}"
    if labels == "names":
        if found or (chain and not re.search(rf"\b{re.escape(answer)}\b", chain)):
            yield "answer", f"{answer!r} is not the name the chain came to", "use one name per result, also at the end"
    elif chain.strip():
        yield from _conclusion(chain, found, answer)


def _conclusion(chain: str, found: list[Equation], answer: str) -> Iterator[Note]:
    stated = next((number.value for number in numbers(answer)), None)
    if found and found[-1].value != stated:
        yield "answer", f"{answer!r}, but the last equation gives {found[-1].value}", "make them agree"
    elif stated not in {number.value for number in numbers(chain)}:
        yield "answer", f"{answer!r} does not occur in the chain", "end the chain with the answer"


def source(given: Source, file: str) -> list[Fault]:
    """Faults of structured demonstrations that a text can no longer show."""
    return [
        Fault(file, pool, number, *note)
        for pool in POOLS
        for number, demo in enumerate(getattr(given, pool), 1)
        for note in [*_values(demo), *_repeats(demo), *_operators(demo, pool)]
    ]


def _values(demo: Demo) -> Iterator[Note]:
    computed = 0
    for number, step in enumerate(demo.steps, 1):
        if step.expr is None or step.value is None:
            continue
        expression = step.filled(demo.values[:computed])
        computed += 1
        if (value := evaluate(expression)) is None:
            yield f"steps {number} expr", f"{expression!r} cannot be computed", "write it with + - * / and numbers"
        elif value != evaluate(step.value):
            yield f"steps {number} value", f"{expression} is {value}, not {step.value}", f"write {value}"
    if evaluate(demo.answer) != evaluate(demo.values[-1]):
        yield "answer", f"{demo.answer}, but the last step gives {demo.values[-1]}", "make them agree"


def _repeats(demo: Demo) -> Iterator[Note]:
    """A result written out again would survive in the variants that change results."""
    given = {number.value for number in numbers(demo.question)}
    known: list[str] = []
    for number, step in enumerate(demo.steps, 1):
        for again in numbers(f"{step.text} ; {step.expr or ''}"):
            same = [at for at, value in enumerate(known, 1) if evaluate(value) == again.value]
            if same and again.value not in given:
                yield f"steps {number}", f"writes out the result {again.value} again", f"write {{r{same[-1]}}}"
        known += [step.value] if step.value is not None else []


def _operators(demo: Demo, pool: str) -> Iterator[Note]:
    allowed = {"addition": "+", "multiplication": "*"}.get(pool)
    for number, step in enumerate(demo.steps, 1):
        signs = {sign for equation in equations(f"{step.filled(demo.values)} = 0") for sign in equation.operators}
        if allowed and step.expr is not None and signs != {allowed}:
            yield f"steps {number} expr", f"uses {' '.join(sorted(signs)) or 'no operator'}", f"use only {allowed}"


def leaks(made: Iterable["Prompt"], questions: Sequence[str], file: str, data: str) -> list[Fault]:
    """Demonstrations whose question stands in `questions`, or shares `GRAM` words in a row with one of them."""
    asked: dict[str, tuple[str, int]] = {}
    for each in made:
        opening, separator = _query(each.template)
        for number, block in enumerate(demos(each.template), 1):
            asked.setdefault(_split(block, opening, separator).question, (each.variant, number))
    words = {question: tuple(_words(question)) for question in asked}
    grams = {gram: question for question, tokens in words.items() for gram in _grams(tokens)}
    whole = {tokens: question for question, tokens in words.items()}
    found: list[Fault] = []
    for row, question in enumerate(questions):
        tokens = tuple(_words(question))
        hits = {whole[tokens]} if tokens in whole else {grams[gram] for gram in _grams(tokens) if gram in grams}
        for hit in sorted(hits):
            what = f"{hit[:60]!r} is like row {row} of {data}"
            found.append(Fault(file, *asked[hit], "question", what, "use another problem"))
    return found


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def _grams(tokens: Sequence[str]) -> set[tuple[str, ...]]:
    return {tuple(tokens[at : at + GRAM]) for at in range(len(tokens) - GRAM + 1)}
