"""Rows of word problems: GSM8K's form, and the data sets that are brought into it by looking at their columns.

A row becomes an id, a question, and an answer that ends in `#### ` and the final answer. Where a data set gives an
equation instead of a worked solution, the equation is the solution, provided that it comes to the answer.
"""

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any, ClassVar, NamedTuple

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator, model_validator

from cot_neurons.answers import parse_gold, spell
from cot_neurons.equations import evaluate
from cot_neurons.numbers import canonical

_CALCULATOR = re.compile(r"<<[^<>]*>>")
_UNIT = re.compile(r"\s*\([^()]*\)\s*$")
_SYMBOL = re.compile(r"\s*(\d+(?:\.\d+)?|[-+*/()])")
_SPACED = {"+": " + ", "-": " - ", "*": " * ", "/": " / "}
Values = dict[str, Any]


class Form(NamedTuple):
    """One data set's columns, by which its rows are known, and how they become GSM8K's."""

    name: str
    columns: tuple[str, ...]
    convert: Callable[[Values], Values]


def _svamp(row: Values) -> Values:
    answer = _worked(row["Answer"], row.get("Equation"))
    return {"id": row.get("ID", row.get("id")), "question": _joined(row["Body"], row["Question"]), "answer": answer}


def _asdiv(row: Values) -> Values:
    """An answer is followed by its unit in brackets, a formula by its value."""
    answer = _UNIT.sub("", row["answer"]) if isinstance(row["answer"], str) else row["answer"]
    answer = _worked(answer, str(row.get("formula")).partition("=")[0])
    return {"id": row.get("id"), "question": _joined(row["body"], row["question"]), "answer": answer}


def _multiarith(row: Values) -> Values:
    """An equation is `X=...`; of solutions and equations there is one each, in lists."""
    answer, equation = _only(row["lSolutions"]), _only(row.get("lEquations"))
    answer = _worked(answer, str(equation).partition("=")[2])
    return {"id": row.get("iIndex", row.get("id")), "question": _joined("", row["sQuestion"]), "answer": answer}


def _multiarith_bare(row: Values) -> Values:
    return {"id": row.get("id"), "question": _joined("", row["question"]), "answer": row["final_ans"]}


def _symbolic(row: Values) -> Values:
    """An id is a template's, so that it names a row only together with the instance."""
    return {**row, "id": f"{row['id']}-{row['instance']}"}


FORMS = (
    Form("SVAMP", ("Body", "Question", "Answer"), _svamp),
    Form("ASDiv", ("body", "question", "answer"), _asdiv),
    Form("MultiArith as published", ("sQuestion", "lSolutions"), _multiarith),
    Form("GSM-Symbolic", ("id", "instance", "question", "answer"), _symbolic),
    Form("MultiArith", ("question", "final_ans"), _multiarith_bare),
    Form("GSM8K", ("question", "answer"), dict),
)
"""The known forms; a row is of the first whose columns it has."""


class WordRow(BaseModel):
    """A row of one of `FORMS`, whose answer may be a word (`#### Paris`). Other columns are left alone.

    `known_forms`: what a file must have columns of, said where it has not.
    """

    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True, frozen=True)
    known_forms: ClassVar[str] = "; ".join(f"{form.name}: {', '.join(form.columns)}" for form in FORMS)

    id: str | None = None
    question: str = Field(validation_alias=AliasChoices("question", "Question", "sQuestion"))
    answer: str = Field(validation_alias=AliasChoices("answer", "Answer", "final_ans", "lSolutions"))

    @model_validator(mode="before")
    @classmethod
    def _in_one_form(cls, row: Any) -> Any:
        if not isinstance(row, dict):
            return row
        found = next((form for form in FORMS if all(name in row for name in form.columns)), None)
        return found.convert(row) if found else row

    @field_validator("question")
    @classmethod
    def _asks(cls, question: str) -> str:
        if not question.strip():
            raise ValueError("the question is empty: write one, or leave the row out")
        return question

    @field_validator("answer")
    @classmethod
    def _answers(cls, answer: str) -> str:
        if parse_gold(answer) == "":
            raise ValueError("the final answer is empty: end the answer with '#### ' and the answer")
        return answer

    @property
    def gold(self) -> Fraction | str:
        """The final answer, an exact number where it is one."""
        return parse_gold(self.answer)

    @property
    def solution(self) -> str | None:
        """The worked solution as a model is to write it: no calculator marks, the answer stated; None if not given."""
        chain, mark, _ = self.answer.rpartition("####")
        return f"{_CALCULATOR.sub('', chain).strip()}\nThe answer is {spell(self.gold)}." if mark else None


class GSM8KRow(WordRow):
    """A row whose answer is a number: behind `#### ` at its end, or all there is of it."""

    @field_validator("answer")
    @classmethod
    def _holds_a_number(cls, answer: str) -> str:
        gold = parse_gold(answer)
        if isinstance(gold, str):
            raise ValueError(f"the final answer {gold[:60]!r} is no number: end the answer with '#### 18', say")
        return answer


def _joined(body: Any, question: Any) -> Any:
    """The story and what is asked about it, as one text; a question that is no text stays, to be named as such."""
    if not (isinstance(body, str) and isinstance(question, str)):
        return question
    return f"{body.strip()} {question.strip()}".strip()


def _only(values: Any) -> Any:
    """The one element of a list; anything else as it is."""
    return values[0] if isinstance(values, list) and len(values) == 1 else values


def _worked(answer: Any, expression: Any) -> Any:
    """The answer in GSM8K's form, worked out where `expression` comes to it; else bare."""
    gold = parse_gold(str(answer))
    written = _spelled(str(expression))
    if isinstance(gold, str) or written is None or evaluate(written) != gold:
        return answer
    return f"{written} = {canonical(gold)}\n#### {canonical(gold)}"


def _spelled(expression: str) -> str | None:
    """An expression as in a chain of thought: `((32.0+42.0)-35.0)` -> `(32 + 42) - 35`; None if it is anything else."""
    expression = expression.strip()
    symbols = _SYMBOL.findall(expression)
    if "".join(symbols) != re.sub(r"\s+", "", expression) or not any(each in _SPACED for each in symbols):
        return None
    words = [_SPACED.get(each) or (each if each in "()" else canonical(Fraction(each))) for each in symbols]
    return "".join(words[1:-1] if _is_one_bracket(symbols) else words)


def _is_one_bracket(symbols: list[str]) -> bool:
    """Whether the first bracket closes with the last symbol, so that both say nothing."""
    depth = [symbols[:end].count("(") - symbols[:end].count(")") for end in range(1, len(symbols))]
    return symbols[-1] == ")" and all(depth)
