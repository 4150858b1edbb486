"""Questions and biographies as text, and back from a question to what it asks."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from grokked_reasoning.vocabulary import END, pieces
from grokked_reasoning.worlds.people.lists import PROPERTIES, SUBJECTS

_BEFORE, _AFTER, _OF = "Question: What was ", "? Answer:", "'s "
_OPENINGS = ("{name} was born on {birth_date}.", "The life of {name} began on {birth_date}.")
_SENTENCES = {
    "birth_city": ("{name} grew up in {value}.", "It was in {value} that {name} came into the world."),
    "university": ("{name} studied at {value}.", "A degree from {value} was the pride of {name}."),
    "employer": ("{name} worked for {value}.", "For years {value} paid the wages of {name}."),
}
_RELATED = ("The {relation} of {name} was {value}.", "{name} had {value} as {relation}.")


class Asked(NamedTuple):
    """What a question asks: a person, then one subject per hop."""

    person: str
    chain: tuple[str, ...]


def words(subject: str) -> str:
    """A subject as it stands in a sentence: `best_friend` -> `best friend`."""
    return subject.replace("_", " ")


def question(person: str, chain: Sequence[str]) -> str:
    """The prompt that asks for the last subject of a chain of them."""
    return _BEFORE + _OF.join([person, *map(words, chain)]) + _AFTER


def answer(value: str) -> str:
    """What follows the prompt."""
    return f" {value}{END}"


def asked(prompt: str) -> Asked:
    """What a prompt made by `question` asks."""
    person, *chain = prompt.removeprefix(_BEFORE).removesuffix(_AFTER).split(_OF)
    return Asked(person, tuple(each.replace(" ", "_") for each in chain))


def vocabulary(names: Sequence[str], properties: dict[str, list[str]]) -> list[str]:
    """Every token that a question or answer about these people can have, sorted."""
    values = {each for column in properties.values() for each in column}
    found = {piece for text in [*names, *values] for piece in pieces(f" {text}")}
    for subject in SUBJECTS:
        found.update(pieces(question(names[0], (subject,)) + END))
    return sorted(found)


def biographies(
    names: Sequence[str], answers: Sequence[Sequence[str]], generator: np.random.Generator
) -> Iterator[str]:
    """One line per person: the birth date, then every other subject in an order of its own, each in a sentence drawn
    from a few. `answers[a][p]` is subject a of person p."""
    born = SUBJECTS.index(PROPERTIES[0])
    others = [a for a in range(len(SUBJECTS)) if a != born]
    for p, name in enumerate(names):
        opening = _OPENINGS[generator.integers(len(_OPENINGS))].format(name=name, birth_date=answers[born][p])
        order: list[int] = generator.permutation(others).tolist()
        told = [_sentence(SUBJECTS[a], name, answers[a][p], generator) for a in order]
        yield " ".join([opening, *told])


def _sentence(subject: str, name: str, value: str, generator: np.random.Generator) -> str:
    forms = _SENTENCES.get(subject, _RELATED)
    return forms[generator.integers(len(forms))].format(name=name, value=value, relation=words(subject))
