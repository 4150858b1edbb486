"""The data sets as they are published: no steps, to be annotated or asked."""

import hashlib
from random import Random
from string import ascii_uppercase
from typing import Any, cast

from pydantic import AliasChoices, BaseModel, Field, ValidationInfo, field_validator, model_validator

from memreason.forms import lettered
from memreason.forms.draft import Draft, Row, Ways, pair_of

Values = dict[str, Any]


class StrategyRow(Row):
    """StrategyQA. Its `facts` are left out: a list of facts is no chain."""

    id: str = Field(validation_alias=AliasChoices("qid", "id"))
    question: str
    answer: bool

    def draft(self, _: Ways, /) -> Draft:
        """True or false."""
        question, answer = self.question.strip(), str(self.answer)
        return Draft(self.id, question, question, pair_of(answer), answer, self.split)


class TaskRow(Row):
    """A BIG-bench task: the target with the highest score is the answer."""

    question: str = Field(validation_alias=AliasChoices("input", "question"))
    target_scores: dict[str, float] = Field(min_length=2)

    @field_validator("target_scores")
    @classmethod
    def _one_best(cls, scores: dict[str, float]) -> dict[str, float]:
        if sum(score == max(scores.values()) for score in scores.values()) != 1:
            raise ValueError("several targets have the highest score, expected one")
        return scores

    def draft(self, _: Ways, /) -> Draft:
        """The targets are the choices, in their order."""
        question, choices = self.question.strip(), tuple(self.target_scores)
        best = max(choices, key=lambda each: self.target_scores[each])
        return Draft(self.id, question, question, choices, best, self.split)


class Option(BaseModel):
    """One option of CommonsenseQA."""

    label: str = Field(pattern="^[A-Z]$")
    text: str = Field(min_length=1)


class CommonsenseRow(Row):
    """CommonsenseQA, as its authors' jsonl has it (`question` holds stem and choices) or the hub (columns of lists)."""

    question: str
    choices: list[Option] = Field(default=[], validate_default=True, min_length=2)
    answer: str = Field(validation_alias=AliasChoices("answerKey", "answer"))

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, values: Any) -> Any:
        found = cast("Values", values)
        inner = found.get("question")
        if isinstance(inner, dict):
            held = cast("Values", inner)
            found = {**found, "question": held.get("stem"), "choices": held.get("choices")}
        columns = found.get("choices")
        if isinstance(columns, dict):
            lists = cast("dict[str, list[str]]", columns)
            pairs = zip(lists.get("label", []), lists.get("text", []), strict=False)
            found = {**found, "choices": [{"label": label, "text": text} for label, text in pairs]}
        return found

    @field_validator("answer")
    @classmethod
    def _of_the_choices(cls, answer: str, info: ValidationInfo) -> str:
        labels = [each.label for each in info.data.get("choices", [])]
        if labels and answer not in labels:
            raise ValueError(f"is none of the choices {', '.join(labels)}")
        return answer

    def draft(self, _: Ways, /) -> Draft:
        """The question with its options, written as in the published annotations."""
        stem = self.question.strip()
        question = f"{stem} Options: {' '.join(f'{each.label}.{each.text.strip()}' for each in self.choices)}"
        choices = tuple(f"{each.label}. {each.text.strip()}" for each in self.choices)
        return Draft(self.id, question, stem, choices, self.answer, self.split)


class TruthfulRow(Row):
    """TruthfulQA, multiple choice: `mc1_targets` has one true choice."""

    question: str
    mc1_targets: dict[str, int]

    @field_validator("mc1_targets", mode="before")
    @classmethod
    def _flat(cls, targets: Any) -> Any:
        if isinstance(targets, dict) and {"choices", "labels"} <= set(cast("Values", targets)):
            lists = cast("dict[str, list[Any]]", targets)
            return dict(zip(lists["choices"], lists["labels"], strict=False))
        return targets

    @field_validator("mc1_targets")
    @classmethod
    def _one_true(cls, targets: dict[str, int]) -> dict[str, int]:
        if list(targets.values()).count(1) != 1 or not 2 <= len(targets) <= len(ascii_uppercase):
            raise ValueError("expected 2 to 26 choices, just one of them with label 1")
        return targets

    def draft(self, ways: Ways, /) -> Draft:
        """The options in an order that seed and question decide: as published, the true one comes first."""
        stem = self.question.strip()
        key = hashlib.sha256(f"{ways.seed}/{stem}".encode()).digest()
        texts = [each.strip() for each in self.mc1_targets]
        order = Random(key).sample(range(len(texts)), len(texts))
        choices = lettered.choices([texts[at] for at in order])
        true = next(at for at, label in enumerate(self.mc1_targets.values()) if label == 1)
        letter = ascii_uppercase[order.index(true)]
        return Draft(self.id, f"{stem} {' '.join(choices)}", stem, choices, letter, self.split)
