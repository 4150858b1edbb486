"""Our own form: rows of question, answer, steps and choices. What is bad in it is an error, not set aside."""

from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationInfo, field_validator

from memreason.forms.draft import Draft, Row, Text, Told, Ways, among, line_fault, pair_of


class StepRow(BaseModel):
    """One step, on one line."""

    kind: Literal["memory", "reason"]
    text: str

    @field_validator("text")
    @classmethod
    def _one_line(cls, text: str) -> str:
        if fault := line_fault(text):
            raise ValueError(f"{fault}, expected one line of text")
        return text.strip()


class TraceRow(Row):
    """`steps`: [{kind, text}], none where it is to be annotated; `choices`: the answers there are, none for any."""

    question: str
    choices: list[str] = Field(default=[])
    answer: Text
    steps: list[StepRow] = Field(default=[])

    @field_validator("choices", "steps", mode="before")
    @classmethod
    def _none_is_empty(cls, value: Any) -> Any:
        return [] if value is None else value

    @field_validator("answer")
    @classmethod
    def _of_the_choices(cls, answer: str, info: ValidationInfo) -> str:
        if choices := info.data.get("choices"):
            among(answer, choices)
        return answer.strip()

    def draft(self, _: Ways, /) -> Draft:
        """What the row tells."""
        question = self.question.strip()
        steps = tuple(Told(step.kind, step.text) for step in self.steps)
        choices = tuple(self.choices) or pair_of(self.answer)
        return Draft(self.id, question, question, choices, self.answer, self.split, steps)
