"""What must hold of a plan, of its facts, and of what follows from them. Each check says what is wrong, in words."""

import re
from collections.abc import Iterator, Sequence

from memreason import answers
from memreason.annotating.prompts import Order, Plan
from memreason.forms.draft import line_fault
from memreason.trace import KINDS, MEMORY, REASON, Item, Step

MOST_STEPS = 16
REFUSED = "declined to answer"
_REFUSAL = re.compile(
    r"^\W*(?:i['\u2019]?m sorry|i am sorry|sorry[,.]|as an ai\b|(?:unknown|n/?a|none)\W*$"
    r"|i (?:cannot|can['\u2019]?t|am unable|am not able|do not know|don['\u2019]?t know))",
    re.IGNORECASE,
)
_SAYING = r"\b(?:answer|option|choice)s?\b[^.;]{0,24}?"
_RIGHT = "right|correct|answer|best|true"
_SAME = {"true": ("true", "yes"), "yes": ("yes", "true"), "false": ("false", "no"), "no": ("no", "false")}


def of_plan(plan: Plan, order: Order) -> list[str]:
    """What is wrong with a plan as such; its facts are looked at later."""
    kinds = [step.kind for step in plan.steps]
    faults = [f"there is no step of kind {kind}" for kind in KINDS if kind not in kinds]
    if len(kinds) > MOST_STEPS:
        faults.append(f"there are {len(kinds)} steps, at most {MOST_STEPS} are wanted")
    if kinds and kinds[-1] != REASON:
        faults.append("the last step is not of kind reason")
    if order == "memory-first" and kinds != sorted(kinds, key=KINDS.index):
        faults.append("not all memory steps come before the reason steps")
    asked = [step.question.strip() for step in plan.steps if step.kind == MEMORY]
    if len(set(asked)) < len(asked):
        faults.append("two memory steps ask the same question")
    return [*faults, *_lines(plan)]


def _lines(plan: Plan) -> Iterator[str]:
    for number, step in enumerate(plan.steps, start=1):
        if step.kind == REASON and (fault := line_fault(step.text)):
            yield f"step {number}: {fault}"
        if step.kind == REASON and _REFUSAL.search(step.text):
            yield f"step {number} {REFUSED}"
        if step.kind == MEMORY and (fault := line_fault(step.question)):
            yield f"step {number}, its question: {fault}"


def of_steps(item: Item, steps: Sequence[Step]) -> list[str]:
    """What is wrong with steps whose facts have been filled in."""
    faults = [
        f"step {number}: {fault}" for number, step in enumerate(steps, start=1) if (fault := line_fault(step.text))
    ]
    faults += [
        f"step {number} {REFUSED}: {step.text[:80]!r}"
        for number, step in enumerate(steps, start=1)
        if step.kind == MEMORY and _REFUSAL.search(step.text)
    ]
    early = [number for number, step in enumerate(steps[:-1], start=1) if _says_answer(step.text, item)]
    return [*faults, *(f"step {number} says which answer is right before the last step" for number in early)]


def of_conclusion(item: Item, said: str) -> list[str]:
    """Whether what follows from the steps is the right answer."""
    gold = answers.canonical(item.trace.answer or "", item.choices)
    found = answers.read(said, item.choices)
    if found == gold:
        return []
    return [f"whoever saw only the question and these steps answered {said.strip()[:80]!r} instead of {gold!r}"]


def _says_answer(text: str, item: Item) -> bool:
    """Whether a text calls the right answer the answer, or names it by its letter."""
    gold = (item.trace.answer or "").strip()
    if re.fullmatch("[A-Z]", gold):
        alone = rf"\b{gold}\b(?!\s+[a-z]|['\u2019])"  # neither an article nor the B of `vitamin B helps`
        meant = rf"\b(?i:options?|choices?|answer)\s+\(?{gold}\b|\b{gold}\s+(?:is|must be)\s+(?:the\s+)?(?:{_RIGHT})\b"
        return re.search(rf"{alone}|{meant}", text) is not None
    same = "|".join(map(re.escape, _SAME.get(gold.casefold(), (gold,))))
    return re.search(rf"{_SAYING}(?<!\w)(?:{same})(?!\w)", text, re.IGNORECASE) is not None
