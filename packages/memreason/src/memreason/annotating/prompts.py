"""What the teacher is asked, and the forms of its answers."""

from collections.abc import Sequence
from typing import Literal

from llmkit import Message
from pydantic import BaseModel, Field

from memreason.trace import Item, Step

Order = Literal["free", "memory-first"]

_PLANNER = (
    "You write down how a question is answered, step by step, for a student who has to learn which steps are recalled "
    "and which are worked out. A step of kind memory states one fact that holds whether or not the question is asked "
    "and that could be looked up: a date, a place, a property, a definition. A step of kind reason works something out "
    "from the question and the steps before it: it compares, calculates, rules out, concludes. No step does both. "
    "Each step is one line, one or two sentences, without a number or a label in front. There is at least one step of "
    "each kind. For a memory step, give the question that its fact answers: one that makes sense to somebody who sees "
    "nothing else, and that names what it is about; somebody else will be asked it. For a reason step that question is "
    "empty. The last step is of kind reason and leads to the answer; no step before it says which answer is right."
)
_ORDERS: dict[Order, str] = {
    "free": "Steps of the two kinds may alternate as the thought needs it.",
    "memory-first": "All memory steps come first, then all reason steps.",
}
_KNOWER = (
    "You state facts. Answer the question in one line, in one or two sentences that make sense on their own, and say "
    "nothing but what you know to be true."
)
_READER = (
    "You are shown a question and the steps of a solution. Say which answer follows from these steps, even where you "
    "believe another one to be true."
)


class PlannedStep(BaseModel):
    """One step of a plan."""

    kind: Literal["memory", "reason"] = Field(description="memory: a fact that is recalled; reason: an inference.")
    question: str = Field(description="Of a memory step: the question that the fact answers; else empty.")
    text: str = Field(description="The fact or the inference, on one line.")


class Plan(BaseModel):
    """The steps that lead to the answer."""

    steps: list[PlannedStep]


class Fact(BaseModel):
    """What is known."""

    fact: str = Field(description="The answer, on one line, in a sentence that makes sense on its own.")


class Conclusion(BaseModel):
    """What follows."""

    answer: str = Field(description="The answer that follows from the steps, and nothing else.")


def plan(item: Item, order: Order, failed: Plan | None = None, faults: Sequence[str] = ()) -> tuple[Message, ...]:
    """The question for a plan; after one that failed, with that one and its faults."""
    asked = f"{_question(item)}\n\nThe correct answer: {item.trace.answer}\n\nWrite the steps. {_ORDERS[order]}"
    told = "Earlier steps could not be used:\n" + "\n".join(f"- {fault}" for fault in faults) + "\nWrite better ones."
    system = Message(role="system", content=_PLANNER)
    if failed is None:
        return system, Message(role="user", content=f"{asked}\n\n{told}" if faults else asked)
    said = Message(role="assistant", content=failed.model_dump_json())
    return system, Message(role="user", content=asked), said, Message(role="user", content=told)


def knowledge(question: str) -> tuple[Message, ...]:
    """The question for a fact; neither the plan nor the answer is shown."""
    return Message(role="system", content=_KNOWER), Message(role="user", content=question)


def conclusion(item: Item, steps: Sequence[Step]) -> tuple[Message, ...]:
    """The question for what follows from steps; the correct answer is not shown."""
    listed = "\n".join(f"{number}. {step.text}" for number, step in enumerate(steps, start=1))
    asked = f"{_question(item)}\n\nThe steps:\n{listed}\n\nWhich answer follows?"
    return Message(role="system", content=_READER), Message(role="user", content=asked)


def _question(item: Item) -> str:
    """The question, with its choices where it does not hold them already."""
    choices = ", ".join(item.choices)
    inside = all((choice.partition(". ")[2] or choice) in item.trace.question for choice in item.choices)
    return f"Question: {item.trace.question}" + ("" if inside else f"\nThe answers there are: {choices}")
