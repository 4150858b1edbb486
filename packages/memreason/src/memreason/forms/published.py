"""The form in which Jin et al. (2025) published their annotations."""

import re
from string import ascii_uppercase

from pydantic import ValidationInfo, field_validator

from memreason.forms import lettered
from memreason.forms.draft import Draft, Row, Text, Told, Ways, among, line_fault
from memreason.trace import MEMORY, REASON

TAGS = {"rag": MEMORY, "memory": MEMORY, "reason": REASON}
_MEANT = {
    MEMORY: {
        "rag",
        "memory",
        "recall",
        "fact",
        "factual",
        "knowledge",
        "retrieval",
        "factualknowledge",
        "factualrecall",
    },
    REASON: {"reason", "reasoning", "inference", "infer", "reasonstep", "reasoningstep"},
}
_STEP = re.compile(r"\s*\[(.*?)\]\s*:(.*)", re.DOTALL)
_LETTER = re.compile(r"[A-Z]")
_TRUTH = ("True", "False")


class PublishedRow(Row):
    """`cot_steps`: each `[rag]: text` or `[reason]: text`; `answer`: the letter of an option in the question's text, or
    True or False."""

    question: str
    answer: Text
    cot_steps: list[str]

    @field_validator("answer")
    @classmethod
    def _of_the_options(cls, answer: str, info: ValidationInfo) -> str:
        answer = answer.strip()
        if not _LETTER.fullmatch(answer):
            return among(answer, _TRUTH) if answer else ""  # whatever is empty is refused as such
        if "question" in info.data:
            _, options = lettered.taken_apart(info.data["question"])
            if answer not in ascii_uppercase[: len(options)]:
                raise ValueError(f"is none of the question's options (there are {len(options)})")
        return answer

    def draft(self, ways: Ways, /) -> Draft:
        """What the row tells; a leading `Question:` is left out, as it stands before every question."""
        question = self.question.strip().removeprefix("Question:").strip()
        stem, options = lettered.taken_apart(question) if _LETTER.fullmatch(self.answer) else (question, ())
        choices = lettered.choices(options) or _TRUTH
        steps = tuple(told(step, ways.mend) for step in self.cot_steps)
        return Draft(self.id, question, stem, choices, self.answer, self.split, steps)


def told(step: str, mend: bool) -> Told:
    """A step by its tag. With `mend` a tag is read as what it means; a tag that means two kinds means none."""
    found = _STEP.fullmatch(step)
    if found is None:
        return Told("", step.strip(), "it has no tag such as [rag]: or [reason]:")
    tag, text = found[1], found[2].strip()
    meant = _meaning(tag)
    kind = TAGS.get(tag, meant if mend else "")
    if kind:
        return Told(kind, text, line_fault(text))
    hint = f"; --mend-tags reads it as {meant}" if meant else ""
    return Told("", step.strip(), f"its tag [{tag}] is neither [rag] nor [reason]{hint}")


def _meaning(tag: str) -> str:
    word = re.sub(r"[\s_-]", "", tag).casefold()
    return next((kind for kind, words in _MEANT.items() if word in words), "")
