"""What a judge that is a language model is asked. Steps are shown without their labels: a label must not be believed.

Jin et al. (2025), section 5, have GPT-4o say whether memory or reasoning failed, and GPT-4o-mini whether a step does
what its label says. Their prompts are not public in print; these are ours.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, Literal, Self

from llmkit import Message, Question
from pydantic import BaseModel, Field, create_model, model_validator

from memreason.judging.case import Said

_BLAME = (
    "You check chains of thought. You see a question, its right answer, and the numbered steps of somebody who came to "
    "a wrong answer. Find the first thing that went wrong, and say what it is:\n"
    "- memory: a step states a fact that is false, or a fact that the solution needs is neither given nor stated.\n"
    "- reason: a step concludes what does not follow from the question and the steps before it (whether or not these "
    "are true), or the answer contradicts what the steps conclude.\n"
    "- format: a step makes no sense as a sentence, or no answer was given.\n"
    "- none: nothing went wrong; the answer can be defended."
)
_CONTENTS = (
    "You say what steps of a chain of thought are, one by one. You see a question and the numbered steps of somebody's "
    "answer, which may be right or wrong. For each step say what it is:\n"
    "- memory: it states a fact that has to be known, being neither in the question nor to be inferred from it.\n"
    "- reason: it infers something from the question or from steps before.\n"
    "- other: it does neither."
)


class Blamed(BaseModel):
    """What a judge says of a wrong answer."""

    rationale: str = Field(description="What went wrong first, in one sentence.")
    blame: Literal["memory", "reason", "format", "none"] = Field(description="What kind of thing went wrong first.")
    step: int | None

    @model_validator(mode="after")
    def _one_story(self) -> Self:
        if self.blame == "none" and self.step is not None:
            raise ValueError("step must be null where nothing went wrong")
        return self


class Told(BaseModel):
    """What a judge says of the steps of an answer."""

    contents: list[Literal["memory", "reason", "other"]]


def blame(said: Said, facts: Sequence[str]) -> Question:
    """Which step of a wrong answer is the first wrong one. `facts`: what is true, where only we can know it."""
    known = ["", "These facts are true:", *(f"- {each}" for each in facts)] if facts else []
    ask = f"The wrong answer: {said.answer or '(none that could be read)'}"
    text = "\n".join([*_question(said), f"The right answer: {said.gold}", *known, "", *_steps(said), ask])
    return Question(f"blame/{said.id}", _messages(_BLAME, text), _blamed(len(said.steps)))


def contents(said: Said) -> Question:
    """What each step of an answer is."""
    return Question(
        f"contents/{said.id}",
        _messages(_CONTENTS, "\n".join([*_question(said), *_steps(said)])),
        _told(len(said.steps)),
    )


@cache
def _blamed(steps: int) -> type[BaseModel]:
    """The form of a verdict on so many steps: no other step can be named."""
    limits: Any = {"ge": 1, "le": steps} if steps else {}
    told = "Number of the first wrong step; null where none is wrong by itself: something is missing, or the answer."
    wanted: Any = (int | None) if steps else None
    return create_model("Blamed", __base__=Blamed, step=(wanted, Field(description=told, **limits)))


@cache
def _told(steps: int) -> type[BaseModel]:
    told = f"What each of the {steps} steps is, in their order."
    wanted: Any = list[Literal["memory", "reason", "other"]]
    return create_model(
        "Told", __base__=Told, contents=(wanted, Field(description=told, min_length=steps, max_length=steps))
    )


def _question(said: Said) -> list[str]:
    options = f"Possible answers: {'; '.join(said.choices)}"
    return [f"Question: {_line(said.question)}", *([options] if said.choices else [])]


def _steps(said: Said) -> list[str]:
    return ["Steps:", *(f"{i}. {_line(step.text)}" for i, step in enumerate(said.steps, start=1))]


def _line(text: str) -> str:
    return " ".join(text.split())


def _messages(system: str, user: str) -> tuple[Message, ...]:
    return Message(role="system", content=system), Message(role="user", content=user)
