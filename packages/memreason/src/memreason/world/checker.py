"""The exact checker: what each step says, whether it is true, and what went wrong first."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Literal, NamedTuple

from memreason.trace import Step
from memreason.world import language, questions
from memreason.world.content import SORTS, Content, Fact, Relation
from memreason.world.language import Conclusion
from memreason.world.questions import CHOICES, Question


class Verdict(NamedTuple):
    """What a step says: a fact (memory), a conclusion (reason) or nothing that can be read (other).

    `true`: of a fact, whether the world says so; of a conclusion, whether it follows from what was given and said
    before, be that false; None of what cannot be read. `needed`: a fact that the solution has to recall (stated
    rightly or not), or the conclusion that decides the question by what was said.
    """

    content: Literal["memory", "reason", "other"]
    true: bool | None
    needed: bool


class Blame(NamedTuple):
    """The first thing that went wrong. `step` counts from 1; None where it is the answer, or something left out."""

    kind: Literal["memory", "reason", "format", "none"]
    step: int | None


class Override(NamedTuple):
    """A false fact, as a sentence, and the answer that it leads to."""

    fact: str
    answer: str


class World:
    """A world that checks what is said about it.

    Every method raises DataError where a question is none about this world.
    """

    def __init__(self, content: Content) -> None:
        self.content = content

    @classmethod
    def load(cls, path: Path) -> "World":
        """The world of a world.json. Raises DataError where it is damaged."""
        return cls(Content.load(path))

    def check(self, question: str, steps: Sequence[Step]) -> list[Verdict]:
        """A verdict for each step, by its words alone."""
        asked = self._read(question)
        recalled = {fact.slot for fact in self._recalled(asked)}
        said = _Said(asked)
        verdicts: list[Verdict] = []
        for found in self._contents(steps):
            if isinstance(found, Fact):
                true = self.content.truth.get(found.slot) == found.value
                verdicts.append(Verdict("memory", true, found.slot in recalled))
                said.add(found)
            elif found is not None:
                verdicts.append(Verdict("reason", said.entails(found), said.decides(found)))
            else:
                verdicts.append(Verdict("other", None, False))
        return verdicts

    def blame(self, question: str, steps: Sequence[Step], answer: str | None) -> Blame:
        """The first thing that went wrong on the way to a wrong answer; none where the answer is right.

        A false fact that the solution needs, or one left out: memory. A conclusion that does not follow though its
        facts are there, none at all, or an answer against it: reason. A step that cannot be read, or no answer: format.
        """
        if answer == self.answer(question):
            return Blame("none", None)
        verdicts = self.check(question, steps)
        lacking = bool(self.missing(question, steps))
        for number, verdict in enumerate(verdicts, 1):
            if fault := _fault(verdict, lacking):
                return Blame(fault, number)
        if answer not in CHOICES:
            return Blame("format", None)
        if lacking:
            return Blame("memory", None)
        return Blame("reason", _strayed(verdicts))

    def missing(self, question: str, steps: Sequence[Step]) -> list[str]:
        """The facts that the solution has to recall and no step states, as sentences."""
        stated = set(self._contents(steps))
        return [language.sentence(fact) for fact in self._recalled(self._read(question)) if fact not in stated]

    def facts(self, question: str) -> list[str]:
        """The facts that the solution has to recall, as sentences, in order: those it needs and is not given."""
        return [language.sentence(fact) for fact in self._recalled(self._read(question))]

    def answer(self, question: str) -> str:
        """The right answer."""
        return questions.solve(self._read(question), self.content.truth).answer

    def override(self, question: str) -> Override | None:
        """A false fact in the place of the first that can turn the answer, all other facts being the world's.

        None where none can: the question gives all its facts.
        """
        asked = self._read(question)
        right = self.answer(question)
        draws = Random(hashlib.sha256(question.encode()).digest())
        for fact in self._recalled(asked):
            others = self._others(fact, asked)
            for value in draws.sample(others, len(others)):
                told = questions.solve(asked, self.content.truth | {fact.slot: value}).answer
                if told != right:
                    return Override(language.sentence(fact._replace(value=value)), told)
        return None

    def _read(self, question: str) -> Question:
        return questions.read(question, self.content)

    def _contents(self, steps: Iterable[Step]) -> Iterator[Fact | Conclusion | None]:
        return (language.read(step.text, self.content) for step in steps)

    def _recalled(self, asked: Question) -> list[Fact]:
        needed = questions.solve(asked, self.content.truth).facts
        return [fact for fact in needed if fact not in asked.given]

    def _others(self, fact: Fact, asked: Question) -> list[str]:
        """What else the value of a fact could be. Of people only those that are told of, and not whom it is compared
        to."""
        sort = SORTS[fact.relation][1]
        if sort == "person":
            return [word for word in self.content.people if word not in (fact.value, fact.subject, asked.b)]
        return [word for word in self.content.words(sort) if word != fact.value]


def _fault(verdict: Verdict, lacking: bool) -> Literal["memory", "reason", "format"] | None:
    """What is wrong with a step. `lacking`: a fact is stated nowhere, so that no conclusion can follow."""
    if verdict.content == "other":
        return "format"
    if verdict.true:
        return None
    if verdict.content == "memory":
        return "memory" if verdict.needed else None
    return "memory" if lacking else "reason"


def _strayed(verdicts: Sequence[Verdict]) -> int | None:
    """The first conclusion, where none decides the question; else the answer is what went wrong."""
    drawn = {number: verdict.needed for number, verdict in enumerate(verdicts, 1) if verdict.content == "reason"}
    return None if any(drawn.values()) else next(iter(drawn), None)


class _Said:
    """What has been given and said so far; of one thing, several values may have been said."""

    def __init__(self, asked: Question) -> None:
        self.asked = asked
        self.facts: dict[tuple[Relation, str], set[str]] = {}
        for fact in asked.given:
            self.add(fact)

    def add(self, fact: Fact) -> None:
        self.facts.setdefault(fact.slot, set()).add(fact.value)

    def entails(self, found: Conclusion) -> bool:
        """Both things were named, and compare so."""
        if found.sort is None:
            return False
        named = {self.asked.b}.union(*self.facts.values())
        true = language.compared(found.sort, found.left, found.right)
        return found == true and {found.left, found.right} <= named

    def decides(self, found: Conclusion) -> bool:
        """It compares, in either order, what the question compares by what was said."""
        left, right = (self._ends(*each) for each in zip((self.asked.a, self.asked.b), self.asked.chains, strict=True))
        return any(a in left and b in right for a, b in (found[1:3], found[2:0:-1]))

    def _ends(self, start: str, chain: Sequence[Relation]) -> set[str]:
        ends = {start}
        for relation in chain:
            ends = set[str]().union(*(self.facts.get((relation, each), set()) for each in ends))
        return ends
