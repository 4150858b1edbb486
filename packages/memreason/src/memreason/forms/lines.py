"""GSM8K's form: an answer of several lines, the last of which is `#### X`."""

import re

from pydantic import field_validator

from memreason.forms.draft import Draft, Row, Told, Ways, line_fault, pair_of
from memreason.trace import MEMORY, REASON

MARK = "####"
_CALCULATOR = re.compile(r"<<[^<>]*>>")
_EQUATION = re.compile(r"\d[\s%)\]]*=[\s(\[$\u20ac\u00a3-]*\.?\d")


class LinesRow(Row):
    """A line that computes is reasoning, others recall."""

    question: str
    answer: str

    @field_validator("answer")
    @classmethod
    def _ends_in_the_mark(cls, answer: str) -> str:
        *_, last = answer.strip().split("\n")
        if not last.startswith(MARK) or not last.removeprefix(MARK).strip():
            raise ValueError(f"its last line is not '{MARK} X', which tells the answer")
        return answer

    def draft(self, _: Ways, /) -> Draft:
        """What the row tells; the calculator's marks are left out."""
        *lines, last = self.answer.strip().split("\n")
        question, answer = self.question.strip(), last.removeprefix(MARK).strip()
        steps = tuple(_told(line.strip()) for line in lines if line.strip())
        return Draft(self.id, question, question, pair_of(answer), answer, self.split, steps)


def _told(line: str) -> Told:
    kind = REASON if _CALCULATOR.search(line) or _EQUATION.search(line) else MEMORY
    text = _CALCULATOR.sub("", line).strip()
    return Told(kind, text, line_fault(text))
