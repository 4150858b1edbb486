"""Facts and questions in words. The paper's wording is not public; its sentences for facts are (appendix F)."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from llmkit import Message, Question
from pydantic import BaseModel, Field

from grokked_reasoning.baselines.knowledge import Asked, Facts, Knowledge
from grokked_reasoning.baselines.names import names
from grokked_reasoning.baselines.retrieval import around

_RELATION = ("younger than", "in the same age as", "older than")
_TASK = (
    "You are given facts about the ages of people, all of them true. Use only these facts. Then a question asks how "
    "the ages of two of these people compare. "
)
_CHOICES = "“younger”, “older”, “in the same age”, or “cannot decide” where the facts do not settle it"
_HOW = {
    "direct": f"Answer at once, without any explanation, with one of: {_CHOICES}.",
    "cot": f"Think step by step, and then end with “Final answer:” followed by one of: {_CHOICES}.",
}


# What is asked for is free text; this is the least form that servers can be made to keep to. Docstring and field
# description are part of the schema that the model is shown.
class Said(BaseModel):
    """Your reply."""

    reply: str = Field(description="Your whole reply, in plain words.")


@dataclass(frozen=True)
class Teller:
    """Tells facts and asks questions about a world; a group of names for each attribute, which is always an age."""

    knowledge: Knowledge
    context: Literal["full", "retrieval"]
    answer: Literal["direct", "cot"]
    seed: int

    def told(self, asked: Asked) -> Facts:
        """The facts told with a question: all of the attribute, or those near the two entities."""
        facts = self.knowledge.facts[asked.attribute]
        return facts if self.context == "full" else around(facts, asked)

    def names(self, asked: Asked) -> tuple[str, str]:
        """What the two entities are called."""
        group = self._names[asked.attribute]
        return group[asked.first], group[asked.second]

    def questions(self, asked: list[Asked]) -> Iterator[Question]:
        """The questions as they are asked, by row."""
        for each in asked:
            first, second = self.names(each)
            question = f"Is {first} younger than, older than, or in the same age as {second}?"
            system = Message(role="system", content=self._system(each))
            yield Question(f"hard/{each.row:04d}", (system, Message(role="user", content=question)), Said)

    def _system(self, asked: Asked) -> str:
        """Instructions and facts; one text for all questions that are told the same facts, so that memory holds one."""
        if self.context == "retrieval":
            return self._page(asked.attribute, self.told(asked))
        if asked.attribute not in self._pages:
            self._pages[asked.attribute] = self._page(asked.attribute, self.told(asked))
        return self._pages[asked.attribute]

    def _page(self, attribute: int, facts: Facts) -> str:
        sentences = list(sentences_of(facts, self._names[attribute]))
        random.Random(f"{self.seed}/order/{attribute}").shuffle(sentences)
        return f"{_TASK}{_HOW[self.answer]}\n\nFacts:\n" + "\n".join(sentences)

    @cached_property
    def _pages(self) -> dict[int, str]:
        return {}

    @cached_property
    def _names(self) -> dict[int, list[str]]:
        return {each: names(self.knowledge.entities, self.seed, each) for each in self.knowledge.facts}


def sentences_of(facts: Facts, called: list[str]) -> Iterator[str]:
    """A sentence for each fact, atomic ones first (paper, appendix F)."""
    for entity, value in facts.atomic.tolist():
        yield f"The age of {called[entity]} is {value}."
    for first, second, label in facts.comparisons.tolist():
        yield f"{called[first]} is {_RELATION[label]} {called[second]}."
