"""Questions about a world: how they are asked, which facts they need, and what their answer is."""

import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from runkit.errors import DataError

from memreason.world import language
from memreason.world.content import Content, Fact, Relation, Slot
from memreason.world.language import Compared, Conclusion

What = Literal["older", "same_city", "in_region", "same_region"]
YES, NO = CHOICES = ("yes", "no")
_MENTOR = "the mentor of "
_GIVEN = "given that {} . "
_ASKED: dict[What, str] = {
    "older": "was {0} born before {1} ?",
    "same_city": "do {0} and {1} live in the same city ?",
    "in_region": "does {0} live in the region {1} ?",
    "same_region": "do {0} and {1} live in the same region ?",
}
_CHAINS: dict[What, tuple[Relation, ...]] = {
    "older": ("born",),
    "same_city": ("lives",),
    "in_region": ("lives", "lies"),
    "same_region": ("lives", "lies"),
}
"""Relations that lead from a person to what is compared."""
_TO_MENTOR: tuple[Relation, ...] = ("mentor",)
_NOWHERE: tuple[Relation, ...] = ()
_COMPARED: dict[What, Compared] = {
    "older": "year", "same_city": "city", "in_region": "region", "same_region": "region"
}  # fmt: skip


class Kind(NamedTuple):
    """What is asked, of `a` itself or of its mentor's mentor's ... (`mentors` times)."""

    what: What
    mentors: int = 0

    @property
    def name(self) -> str:
        return f"{'mentor.' * self.mentors}{self.what}"

    @property
    def about_region(self) -> bool:
        """It is asked of one person and a region, not of two people."""
        return self.what == "in_region"


class Question(NamedTuple):
    """`b` is a person, or the region. `given`: facts that stand in the question, needed or not."""

    kind: Kind
    a: str
    b: str
    given: tuple[Fact, ...] = ()

    @property
    def sort(self) -> Compared:
        """What is compared."""
        return _COMPARED[self.kind.what]

    @property
    def chains(self) -> tuple[tuple[Relation, ...], tuple[Relation, ...]]:
        """Relations that lead from `a` and from `b` to what is compared."""
        chain = _CHAINS[self.kind.what]
        return _TO_MENTOR * self.kind.mentors + chain, _NOWHERE if self.kind.about_region else chain

    def text(self) -> str:
        """The question in words."""
        given = "".join(_GIVEN.format(language.sentence(fact)) for fact in self.given)
        return given + _ASKED[self.kind.what].format(_MENTOR * self.kind.mentors + self.a, self.b)


class Solution(NamedTuple):
    """The facts that a question needs, in order and each once; the conclusion; the answer."""

    facts: tuple[Fact, ...]
    conclusion: Conclusion
    answer: str


def kinds(hops: int) -> list[Kind]:
    """The kinds of questions of a world; `hops`: longest chain of facts from a person."""
    asked: tuple[What, ...] = ("older", "same_city") if hops == 1 else tuple(_ASKED)
    return [Kind(what, mentors) for mentors in range(max(1, hops - 1)) for what in asked]


def solve(question: Question, known: Mapping[Slot, str]) -> Solution:
    """The solution by what is known. Raises KeyError where a fact is not."""
    left, right = (
        _walk(start, chain, known) for start, chain in zip((question.a, question.b), question.chains, strict=True)
    )
    found = language.compared(question.sort, _end(left, question.a), _end(right, question.b))
    return Solution(tuple(dict.fromkeys(left + right)), found, answer(found))


def answer(conclusion: Conclusion) -> str:
    """The answer that a conclusion gives to a question about its two things in that order."""
    return YES if conclusion.verdict in ("earlier", "the same city", "the same region") else NO


def read(text: str, world: Content) -> Question:
    """A question read back. Raises DataError where it is none about this world."""
    given: list[Fact] = []
    rest = text
    while found := _GIVEN_TEXT.match(rest):
        fact = language.fact(found[1], world)
        if fact is None:
            raise DataError(f"question {text!r}: {found[1]!r} states no fact of this world")
        given.append(fact)
        rest = rest[found.end() :]
    for what, pattern in _PATTERNS.items():
        if (found := pattern.fullmatch(rest)) and _fits(what, found[2], found[3], world):
            return Question(Kind(what, found[1].count(_MENTOR)), found[2], found[3], tuple(given))
    raise DataError(f"question {text!r}: none that can be asked about this world")


def words() -> list[str]:
    """Every word of the questions that names nothing."""
    texts = [*_ASKED.values(), _MENTOR, _GIVEN]
    return [word for text in texts for word in text.split() if "{" not in word]


def _walk(start: str, chain: Sequence[Relation], known: Mapping[Slot, str]) -> list[Fact]:
    found: list[Fact] = []
    for relation in chain:
        start_at = _end(found, start)
        found.append(Fact(relation, start_at, known[relation, start_at]))
    return found


def _end(walked: Sequence[Fact], start: str) -> str:
    return walked[-1].value if walked else start


def _fits(what: What, a: str, b: str, world: Content) -> bool:
    return world.sort(a) == "person" and world.sort(b) == ("region" if what == "in_region" else "person")


_GIVEN_TEXT = re.compile(re.escape(_GIVEN).replace(r"\{\}", "(.+?)"))
_PATTERNS: dict[What, re.Pattern[str]] = {
    what: re.compile(re.escape(text).replace(r"\{0\}", rf"((?:{_MENTOR})*)(\S+)").replace(r"\{1\}", r"(\S+)"))
    for what, text in _ASKED.items()
}
