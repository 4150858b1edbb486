"""A row as a source tells it: its steps may still be bad ones."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict
from runkit.errors import DataError

from memreason.answers import canonical
from memreason.scheme import MARKER

_PAIRS = (("True", "False"), ("true", "false"), ("Yes", "No"), ("yes", "no"))
Text = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, bool) else value)]
"""An answer: text, a number, or true and false."""


class Told(NamedTuple):
    """A step as a source tells it. `kind`: "" where its tag is none; `fault`: why it cannot be used, if it cannot."""

    kind: str
    text: str
    fault: str = ""


class Draft(NamedTuple):
    """A question as a source tells it. `stem`: the question without its options; `split`: None where none is told."""

    id: str
    question: str
    stem: str
    choices: tuple[str, ...]
    answer: str
    split: str | None
    steps: tuple[Told, ...] = ()


class Ways(NamedTuple):
    """How rows are read: the seed of the order of options, and whether tags are read as what they mean."""

    seed: int
    mend: bool


class Row(BaseModel):
    """A row of a source; each form has its own."""

    model_config = ConfigDict(coerce_numbers_to_str=True)
    known_forms: ClassVar[str] = (
        "question, answer, cot_steps; question, answer, steps, choices; question, answer with a line `#### X`; "
        "StrategyQA, CommonsenseQA, TruthfulQA and BIG-bench tasks as they are"
    )

    id: str
    split: str | None = None

    def draft(self, ways: Ways, /) -> Draft:
        """What the row tells."""
        raise NotImplementedError


def pair_of(answer: str) -> tuple[str, ...]:
    """The choices of an answer that is true, false, yes or no; else ()."""
    return next((pair for pair in _PAIRS if answer in pair), ())


def among(answer: str, choices: Sequence[str]) -> str:
    """An answer of a row as `answers.canonical` spells it. Raises ValueError: it is none of the choices."""
    try:
        return canonical(answer, choices)
    except DataError as error:
        raise ValueError(str(error)) from None


def line_fault(text: str) -> str:
    """Why a text cannot be a step; "" where it can. What begins as the answer's line does would be read as that."""
    if not text.strip():
        return "it is empty"
    if text.strip().startswith(MARKER):
        return f"it begins with {MARKER!r}, as the answer's line does"
    return "it has several lines" if "\n" in text.strip() else ""
