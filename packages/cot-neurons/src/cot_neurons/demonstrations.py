"""Worked examples in structured form, and the texts that a prompt variant makes of them.

A demonstration is written once, as steps with slots for their equations; leaving out text or equations, or changing
every result, is then a matter of how the slots are filled, so the variants differ in nothing else.
"""

import random
import re
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from runkit.errors import DataError, UsageError

from cot_neurons.equations import evaluate
from cot_neurons.numbers import numbers

Style = Literal["both", "text", "equations", "none"]
Labels = Literal["true", "wrong", "names"]
OWN = "arithmetic.yaml"
POOLS = ("base", "addition", "multiplication")
_RESULT = re.compile(r"\{r(\d+)\}")


class _Written(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)


class Step(_Written):
    """One sentence; `{eq}` in `text` is the place of `expr = value` where the step computes something."""

    text: str = Field(min_length=1)
    expr: str | None = None
    value: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _plain_sentence(cls, written: Any) -> Any:
        return {"text": written} if isinstance(written, str) else written

    @model_validator(mode="after")
    def _whole(self) -> "Step":
        slots = self.text.count("{eq}")
        if (self.expr is None) != (self.value is None) or slots != (self.expr is not None):
            raise ValueError("a step that computes has an expr, a value and one {eq} in its text, any other has none")
        return self

    def filled(self, results: Sequence[str]) -> str:
        """`expr` with earlier results in their places; empty for a step that computes nothing."""
        return fill(self.expr or "", results)


class Demo(_Written):
    """A question, the steps of its solution, and its answer: the value of the last step that computes something."""

    question: str = Field(min_length=1)
    steps: tuple[Step, ...]
    answer: str

    @property
    def values(self) -> list[str]:
        """The results of the steps that compute something, in order: what {r1}, {r2}, ... stand for."""
        return [step.value for step in self.steps if step.value is not None]

    @model_validator(mode="after")
    def _refers_back(self) -> "Demo":
        known = 0
        for step in self.steps:
            for number in _RESULT.findall(step.text + (step.expr or "")):
                if not 0 < int(number) <= known:
                    raise ValueError(f"{{r{number}}} stands before that result is computed")
            known += step.value is not None
        if not known:
            raise ValueError("no step computes anything: give at least one an expr and a value")
        return self


class Source(_Written):
    """All demonstrations of one file, and the names that stand in for numbers in the out-of-domain variant."""

    names: tuple[str, ...] = ()
    base: tuple[Demo, ...] = ()
    addition: tuple[Demo, ...] = ()
    multiplication: tuple[Demo, ...] = ()


@cache
def own() -> Source:
    """The demonstrations that come with the package."""
    return parse(files("cot_neurons").joinpath("demos", OWN).read_text("utf-8"), OWN)


def read(path: Path) -> Source:
    """A user's demonstrations.

    Raises:
        UsageError: there is no such file.
        DataError: the file is no YAML, or a demonstration is not as it should be; names file, demonstration and field.
    """
    return parse(read_text(path), str(path))


def read_text(path: Path) -> str:
    """A user's text file; the errors of `read`."""
    if not path.is_file():
        raise UsageError(f"no such file: {path}")
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no UTF-8 text (byte {error.start}): save it as UTF-8") from None


def parse(text: str, file: str) -> Source:
    """Demonstrations from YAML text; `file` is what messages call it."""
    try:
        return Source.model_validate(yaml.safe_load(text) or {})
    except yaml.YAMLError as error:
        raise DataError(f"{file} is no YAML: {error}") from None
    except ValidationError as error:
        faults = [f"{file}: {_place(fault['loc'])}: {fault['msg']}" for fault in error.errors()]
        raise DataError("\n".join(faults[:5])) from None


def _place(loc: tuple[int | str, ...]) -> str:
    """`('base', 1, 'steps', 0, 'value')` -> `base, demonstration 2, steps 1 value`: counted from 1, as people do."""
    words = [str(part + 1) if isinstance(part, int) else part for part in loc]
    demo = [f"demonstration {word}" for word in words[1:2]]
    return ", ".join([*words[:1], *demo, " ".join(words[2:])]).removesuffix(", ") or "the whole file"


def fill(text: str, labels: Sequence[str]) -> str:
    """Put results in the places of {r1}, {r2}, ..."""
    return _RESULT.sub(lambda match: labels[int(match[1]) - 1], text)


def label(demo: Demo, labels: Labels, seed: int, names: Sequence[str] = ()) -> list[str]:
    """What stands for each result: the true values, wrong ones, or names.

    Seeded by `seed` and the question, so a demonstration is changed in the same way whatever stands beside it. A wrong
    value is of the size of the true one, is no other number of the demonstration, and makes its equation false also
    where earlier results in it are wrong already.
    """
    rng = random.Random(f"{seed}:{demo.question}")
    if labels == "names":
        if len(names) < len(demo.values):
            raise UsageError(
                f"{len(names)} names for the {len(demo.values)} results of {demo.question[:40]!r}: add names"
            )
        return rng.sample(names, len(demo.values))
    return _wrong(demo, rng) if labels == "wrong" else demo.values


def _wrong(demo: Demo, rng: random.Random) -> list[str]:
    text = " ".join([demo.question, *demo.values, *(step.expr or "" for step in demo.steps)])
    taken: set[Fraction | None] = {number.value for number in numbers(text)}
    made: list[str] = []
    for step in demo.steps:
        if step.expr is None or step.value is None:
            continue
        size = abs(int(float(step.value)))
        barred = taken | {evaluate(step.filled(made))}
        room = [n for n in range(max(1, size // 2), 2 * size + len(barred) + 2) if n not in barred]
        made.append(str(rng.choice(room)))
        taken.add(evaluate(made[-1]))
    return made


def chain(demo: Demo, style: Style, labels: Sequence[str]) -> list[str]:
    """The lines of a demonstration's chain of thought, each ending in a period."""
    if style == "none":
        return []
    lines: list[str] = []
    computed = 0
    for step in demo.steps:
        text = fill(step.text, labels)
        if step.expr is not None:
            equation = f"{step.filled(labels)} = {labels[computed]}"
            shown = labels[computed] if style == "text" else equation
            text = f"{equation}." if style == "equations" else text.replace("{eq}", shown)
            computed += 1
        elif style == "equations":
            continue
        lines.append(text)
    return lines
