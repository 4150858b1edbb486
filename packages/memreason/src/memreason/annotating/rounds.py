"""Questions are planned, facts asked for, what follows is checked; what fails is planned anew, its faults told."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from llmkit import Question, Reply
from pydantic import BaseModel

from memreason.annotating import checks, prompts
from memreason.annotating.prompts import Conclusion, Fact, Order, Plan, PlannedStep
from memreason.trace import MEMORY, Item, Step

Ask = Callable[[list[Question], int], dict[str, Reply]]
"""Asks questions; the number is that of the try, from 0. A reply to each, by key."""
T = TypeVar("T", bound=BaseModel)
_DECLINED = "the answer was declined"


@dataclass
class Case:
    """A question on its way to steps.

    Attributes:
        number: of its row, from 1.
        steps: with their facts filled in; what they end as, where `faults` is empty.
        faults: what is wrong with the last try.
        error: why a call got no answer; "" where all got one.
        tries: plans it took.
    """

    number: int
    item: Item
    plan: Plan | None = None
    steps: tuple[Step, ...] = ()
    faults: list[str] = field(default_factory=list[str])
    error: str = ""
    tries: int = 0

    @property
    def reason(self) -> str:
        """Why it is dropped; "" where it is not."""
        if self.error:
            return f"error: {self.error}"
        if not self.faults:
            return ""
        return "; ".join(self.faults) + (f" (the last of {self.tries} tries)" if self.tries > 1 else "")

    @property
    def planned(self) -> list[PlannedStep]:
        """The steps of its plan."""
        return self.plan.steps if self.plan else []

    @property
    def is_open(self) -> bool:
        """Whether the present try has come well so far."""
        return not self.faults and not self.error

    def hear(self, reply: Reply, form: type[T]) -> T | None:
        """Take in a reply; what it says, or None, and why not."""
        if isinstance(reply.value, form):
            return reply.value
        if reply.status == "error":
            self.error = reply.error
        elif reply.error.startswith(_DECLINED):
            self.faults.append(f"the teacher {checks.REFUSED}: {reply.error}")
        else:
            self.faults.append(f"the teacher's answer cannot be used: {reply.error}")
        return None


def annotate(cases: Sequence[Case], ask: Ask, *, order: Order, tries: int) -> None:
    """Fill in the steps of all cases, or their faults."""
    for attempt in range(tries):
        tried = [case for case in cases if not case.error and (case.faults or not attempt)]
        _plan(tried, ask, order, attempt)
        _recall([case for case in tried if case.is_open], ask, attempt)
        _conclude([case for case in tried if case.is_open], ask, attempt)


def first_questions(cases: Sequence[Case], order: Order) -> list[Question]:
    """What is asked of them first."""
    return [Question(_key(case, "plan"), prompts.plan(case.item, order), Plan) for case in cases]


def _plan(cases: Sequence[Case], ask: Ask, order: Order, attempt: int) -> None:
    questions = [
        Question(_key(case, "plan"), prompts.plan(case.item, order, case.plan, case.faults), Plan, attempt)
        for case in cases
    ]
    replies = ask(questions, attempt)
    for case in cases:
        case.tries, case.faults, case.steps = attempt + 1, [], ()
        case.plan = case.hear(replies[_key(case, "plan")], Plan)
        if case.plan:
            case.faults += checks.of_plan(case.plan, order)


def _recall(cases: Sequence[Case], ask: Ask, attempt: int) -> None:
    """The answers to the memory steps' questions become these steps; a question of several plans is asked once."""
    keys: dict[str, str] = {}
    for case in cases:
        for number, step in enumerate(case.planned, start=1):
            if step.kind == MEMORY:
                keys.setdefault(step.question.strip(), _key(case, f"fact {number}"))
    replies = ask([Question(key, prompts.knowledge(text), Fact, attempt) for text, key in keys.items()], attempt)
    for case in cases:
        steps = [_step(case, step, replies, keys) for step in case.planned]
        case.steps = tuple(step for step in steps if step)
        if case.is_open:
            case.faults += checks.of_steps(case.item, case.steps)


def _step(case: Case, planned: PlannedStep, replies: dict[str, Reply], keys: dict[str, str]) -> Step | None:
    if planned.kind != MEMORY:
        return Step(planned.kind, planned.text.strip())
    known = case.hear(replies[keys[planned.question.strip()]], Fact)
    return Step(MEMORY, known.fact.strip()) if known else None


def _conclude(cases: Sequence[Case], ask: Ask, attempt: int) -> None:
    questions = [
        Question(_key(case, "conclusion"), prompts.conclusion(case.item, case.steps), Conclusion, attempt)
        for case in cases
    ]
    replies = ask(questions, attempt)
    for case in cases:
        if said := case.hear(replies[_key(case, "conclusion")], Conclusion):
            case.faults += checks.of_conclusion(case.item, said.answer)


def _key(case: Case, what: str) -> str:
    return f"{case.item.id}/{what}"
