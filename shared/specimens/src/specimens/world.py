"""A small invented world: people, their towns, jobs and friends, and questions of one or two steps about them.

Every single fact is asked in training, so one-step answers are memorised. A two-step question chains two facts; a fixed
share of these chains is kept out of training and shows whether facts are combined or merely recalled.
"""

import hashlib
from functools import cache
from random import Random
from typing import Literal, NamedTuple

from specimens.text import document, query

WorldSplit = Literal["facts", "two-step", "held-out two-step"]
WORLD_SPLITS: tuple[WorldSplit, ...] = ("facts", "two-step", "held-out two-step")
HELD_OUT_SHARE = 5
"""One in so many two-step chains is kept out of training."""

_TRADES = {
    "baker": "oven", "smith": "hammer", "tailor": "needle", "miller": "sieve", "painter": "brush", "doctor": "syringe",
    "judge": "gavel", "sailor": "compass", "hunter": "bow", "singer": "harp", "weaver": "loom", "mason": "trowel",
}  # fmt: skip
_REGIONS = ["Norlund", "Estvale", "Suderan", "Westmark", "Hochfell", "Innermoor"]
_RIVERS = ["Arn", "Belk", "Cimra", "Dorva", "Elsk", "Fenn", "Gral", "Hoss"]


class Relation(NamedTuple):
    """How a fact is stated, how it is asked, and what a two-step question calls its object."""

    fact: str
    asks: tuple[str, ...]
    noun: str


RELATIONS = {
    "town": Relation(
        "{s} lives in {o}.", ("Where does {s} live?", "In which town does {s} live?"), "the home town of {s}"
    ),
    "job": Relation("{s} works as a {o}.", ("What is the job of {s}?", "What does {s} work as?"), "the job of {s}"),
    "friend": Relation("The best friend of {s} is {o}.", ("Who is the best friend of {s}?",), "the best friend of {s}"),
    "region": Relation("{s} lies in {o}.", ("In which region does {s} lie?", "To which region belongs {s}?"), ""),
    "river": Relation("The river through {s} is the {o}.", ("Which river flows through {s}?",), ""),
    "tool": Relation("The tool of a {s} is the {o}.", ("Which tool does a {s} use?", "What is the tool of a {s}?"), ""),
}
CHAINS = (("town", "region"), ("town", "river"), ("job", "tool"), ("friend", "town"), ("friend", "job"))
_CHAIN_ASKS = {
    "region": "In which region does {noun} lie?",
    "river": "Which river flows through {noun}?",
    "tool": "Which tool belongs to {noun}?",
    "town": "Where does {noun} live?",
    "job": "What does {noun} work as?",
}


class Question(NamedTuple):
    """A question about the world in GSM8K's form; `answer` states the facts used, one per line, then `#### WORD`."""

    question: str
    answer: str
    steps: int
    relations: str
    split: WorldSplit


@cache
def facts() -> dict[str, dict[str, str]]:
    """Every fact, as relation → subject → object."""
    rng = Random("world")
    people = _invented(rng, 48, ("a", "o", "ix", "en", "u"))
    towns = _invented(rng, 16, ("burg", "ford", "holm", "wick"))
    friends = people[1:] + people[:1]
    return {
        "town": {p: rng.choice(towns) for p in people},
        "job": {p: rng.choice(list(_TRADES)) for p in people},
        "friend": dict(zip(people, friends, strict=True)),
        "region": {t: rng.choice(_REGIONS) for t in towns},
        "river": {t: rng.choice(_RIVERS) for t in towns},
        "tool": _TRADES,
    }


@cache
def questions(split: WorldSplit) -> tuple[Question, ...]:
    """All questions of a split: every wording of every single fact, or every two-step chain."""
    if split == "facts":
        return tuple(q for name, table in facts().items() for subject in table for q in _single(name, subject))
    every = (_chain(first, second, person) for first, second in CHAINS for person in facts()[first])
    return tuple(q for q in every if q.split == split)


def text() -> str:
    """Every question of training with its answer, as documents one after the other, in an order of no meaning."""
    asked = [*questions("facts"), *questions("two-step")]
    Random("world/text").shuffle(asked)
    return "\n\n".join(document(each.question, each.answer) for each in asked) + "\n"


def training_question(rng: Random) -> Question:
    """A random question of training: a fact or a two-step chain that is not held out."""
    return rng.choice(questions("facts" if rng.random() < 0.5 else "two-step"))


def _single(relation: str, subject: str) -> list[Question]:
    obj = facts()[relation][subject]
    answer = f"{RELATIONS[relation].fact.format(s=subject, o=obj)}\n#### {obj}"
    return [Question(ask.format(s=subject), answer, 1, relation, "facts") for ask in RELATIONS[relation].asks]


def _chain(first: str, second: str, person: str) -> Question:
    middle = facts()[first][person]
    obj = facts()[second][middle]
    question = _CHAIN_ASKS[second].format(noun=RELATIONS[first].noun.format(s=person))
    stated = [RELATIONS[first].fact.format(s=person, o=middle), RELATIONS[second].fact.format(s=middle, o=obj)]
    digest = hashlib.blake2b(query(question).encode(), digest_size=4).digest()
    split = "held-out two-step" if int.from_bytes(digest, "big") % HELD_OUT_SHARE == 0 else "two-step"
    return Question(question, "\n".join([*stated, f"#### {obj}"]), 2, f"{first} {second}", split)


def _invented(rng: Random, count: int, endings: tuple[str, ...]) -> list[str]:
    names: dict[str, None] = {}
    while len(names) < count:
        stem = rng.choice("BDFGKLMNPRSTVZ") + rng.choice(("ra", "el", "or", "i", "u", "ano", "ey"))
        names.setdefault(stem + rng.choice("dkllmnrstv") + rng.choice(endings))
    return list(names)
