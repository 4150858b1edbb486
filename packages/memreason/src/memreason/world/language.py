"""The language of the worlds: every sentence there is, written and read back. Words stand between single spaces."""

import re
from typing import Literal, NamedTuple

from memreason.world.content import SORTS, Content, Fact, Relation

Compared = Literal["year", "city", "region"]
FACTS: dict[Relation, tuple[str, ...]] = {
    "born": ("{0} was born in {1}", "note that {0} was born in {1}", "we know the birth year of {0} is {1}"),
    "lives": ("{0} lives in {1}", "note that {0} lives in {1}", "we know the home of {0} is {1}"),
    "lies": ("{0} lies in {1}", "note that {0} lies in {1}", "we know the region of {0} is {1}"),
    "mentor": ("the mentor of {0} is {1}", "note that {0} was taught by {1}", "we know the mentor of {0} is {1}"),
}
"""Ways to state a fact: {0} is its subject, {1} its value. The first one is the plain one."""
CONCLUSIONS = (
    "so {0} compared to {1} is {2}",
    "note that {0} compared to {1} is {2}",
    "we know {0} held against {1} is {2}",
)
"""Ways to draw a conclusion; two begin as facts may begin, so that the first words do not tell what a step is."""
VERDICTS: dict[Compared, tuple[str, ...]] = {
    "year": ("earlier", "later", "equal"),
    "city": ("the same city", "another city"),
    "region": ("the same region", "another region"),
}
_SORTS: dict[str, Compared] = {verdict: sort for sort, verdicts in VERDICTS.items() for verdict in verdicts}


class Conclusion(NamedTuple):
    """Two years, cities or regions, and what the first is to the second; it need not be true.

    `sort`: of both; None where they are of two sorts, or the verdict is for things of another: it never follows.
    """

    sort: Compared | None
    left: str
    right: str
    verdict: str


def compared(sort: Compared, left: str, right: str) -> Conclusion:
    """The true conclusion about two things."""
    if sort == "year":
        order = (int(left) > int(right)) - (int(left) < int(right))
        return Conclusion(sort, left, right, {-1: "earlier", 1: "later", 0: "equal"}[order])
    return Conclusion(sort, left, right, VERDICTS[sort][left != right])


def sentence(said: Fact | Conclusion, way: int = 0) -> str:
    """A fact or a conclusion in words."""
    return ways(said)[way].format(*said[1:])


def ways(said: Fact | Conclusion) -> tuple[str, ...]:
    """The templates for it."""
    return FACTS[said.relation] if isinstance(said, Fact) else CONCLUSIONS


def read(text: str, world: Content) -> Fact | Conclusion | None:
    """What a sentence says about the things of a world; None where it is none of the language's."""
    return fact(text, world) or conclusion(text, world)


def fact(text: str, world: Content) -> Fact | None:
    """A stated fact, true or false."""
    for relation, patterns in _FACTS.items():
        for pattern in patterns:
            if (found := pattern.fullmatch(text)) and tuple(map(world.sort, found.groups())) == SORTS[relation]:
                return Fact(relation, *found.groups())
    return None


def conclusion(text: str, world: Content) -> Conclusion | None:
    """A conclusion, right or wrong."""
    for pattern in _CONCLUSIONS:
        if found := pattern.fullmatch(text):
            left, right, verdict = found.groups()
            sorts = {world.sort(left), world.sort(right)}
            if None not in sorts and (sort := _SORTS.get(verdict)):
                return Conclusion(sort if sorts == {sort} else None, left, right, verdict)
    return None


def words() -> list[str]:
    """Every word of these sentences that names nothing."""
    templates = [*(way for each in FACTS.values() for way in each), *CONCLUSIONS]
    verdicts = [verdict for each in VERDICTS.values() for verdict in each]
    return [word for text in (*templates, *verdicts) for word in text.split() if "{" not in word]


def pattern(template: str, last: str = r"\S+") -> re.Pattern[str]:
    """A template as what it matches: {0} and {1} are a word each, {2} is `last`."""
    return re.compile(template.replace("{0}", r"(\S+)").replace("{1}", r"(\S+)").replace("{2}", f"({last})"))


_FACTS: dict[Relation, tuple[re.Pattern[str], ...]] = {
    relation: tuple(map(pattern, templates)) for relation, templates in FACTS.items()
}
_CONCLUSIONS = tuple(pattern(template, ".+") for template in CONCLUSIONS)
