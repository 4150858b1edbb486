"""Entities with a value for every attribute, and the pairs that can be compared: the world of two tasks.

Pairs are numbered, never listed: millions of them cost no more than the numbers of those that are kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Int
from runkit.errors import UsageError

from grokked_reasoning.options import MakeOptions
from grokked_reasoning.profiles import World
from grokked_reasoning.vocabulary import END
from grokked_reasoning.worlds.kinds import Kind, Text
from grokked_reasoning.worlds.made import SPECIAL, stream

LABELS = 3
"""`<attr_i_0>`: the first entity's value is less than the second's; 1: equal; 2: greater."""


class Wording(NamedTuple):
    """How facts are told: entity and attribute, attribute and two entities, and what stands before an answer."""

    atomic: str
    compare: str
    before: str


@dataclass(frozen=True)
class Values:
    """What every entity has of every attribute, and for which attributes an entity is OOD (a split per attribute).

    value: [attributes, entities]. id, ood: [attributes, ...], entities in order.
    """

    value: Int[np.ndarray, "A E"]
    id: Int[np.ndarray, "A I"]
    ood: Int[np.ndarray, "A O"]
    levels: int

    def label(self, attribute: np.ndarray, one: np.ndarray, other: np.ndarray) -> Int[np.ndarray, " n"]:
        """How entities compare: 0, 1 or 2."""
        return np.sign(self.value[attribute, one] - self.value[attribute, other]) + 1

    def atomic(self, wording: Wording) -> list[Kind]:
        """The atomic facts, attribute by attribute: ID ones, OOD ones."""
        return [
            Kind(name, np.arange(group.size), partial(self.told, wording, group))
            for name, group in (("id_atomic", self.id), ("ood_atomic", self.ood))
        ]

    def told(self, wording: Wording, group: Int[np.ndarray, "A m"], number: Int[np.ndarray, " n"]) -> Iterator[Text]:
        """Atomic facts of a group as text, by their place in it."""
        attribute = number // group.shape[1]
        entity = group.ravel()[number]
        for a, e, value in zip(
            attribute.tolist(), entity.tolist(), self.value[attribute, entity].tolist(), strict=True
        ):
            yield wording.atomic.format(e, a), f"{wording.before}<{value}>{END}"

    def compared(self, wording: Wording, pairs: "Pairs", number: Int[np.ndarray, " n"]) -> Iterator[Text]:
        """Comparisons as text, by the numbers of the pairs."""
        found = pairs.find(number)
        label = self.label(*found).tolist()
        for a, one, other, said in zip(*(each.tolist() for each in found), label, strict=True):
            yield wording.compare.format(a, one, other), f"{wording.before}<attr_{a}_{said}>{END}"

    def counts(self) -> dict[str, int]:
        """Atomic facts of each side."""
        return {"atomic": self.value.size, "id_atomic": self.id.size, "ood_atomic": self.ood.size}

    def vocabulary(self) -> list[str]:
        """vocab.json of the original."""
        attributes, entities = self.value.shape
        names = [f"<e_{i}>" for i in range(entities)] + [f"<attr_{i}>" for i in range(attributes)]
        labels = [f"<attr_{i}_{label}>" for i in range(attributes) for label in range(LABELS)]
        return names + [f"<{i}>" for i in range(self.levels)] + SPECIAL + labels

    def frame(self) -> pl.DataFrame:
        """The facts as text, attribute by attribute (tables.Facts)."""
        attributes, entities = self.value.shape
        split = np.full(self.value.shape, "id ")
        np.put_along_axis(split, self.ood, "ood", axis=1)
        return pl.DataFrame(
            {
                "head": [f"<e_{i}>" for i in range(entities)] * attributes,
                "relation": np.array([f"<attr_{i}>" for i in range(attributes)]).repeat(entities),
                "tail": [f"<{each}>" for each in self.value.ravel().tolist()],
                "split": np.char.strip(split).ravel(),
            }
        )


@dataclass(frozen=True)
class Pairs:
    """Ordered pairs of entities under every attribute: number 2p is pair p, 2p + 1 the same the other way round.

    left, right: [attributes, ...], entities that stand on a side. i, j: which of them make a pair.
    """

    left: Int[np.ndarray, "A m"]
    right: Int[np.ndarray, "A n"]
    i: Int[np.ndarray, " pairs"]
    j: Int[np.ndarray, " pairs"]

    @classmethod
    def within(cls, group: Int[np.ndarray, "A n"]) -> "Pairs":
        """Two different entities of the group."""
        return cls(group, group, *np.triu_indices(group.shape[1], 1))

    @classmethod
    def between(cls, left: Int[np.ndarray, "A m"], right: Int[np.ndarray, "A n"]) -> "Pairs":
        """One entity of each group."""
        i, j = np.indices((left.shape[1], right.shape[1]))
        return cls(left, right, i.ravel(), j.ravel())

    def all(self) -> Int[np.ndarray, " n"]:
        """The numbers of all ordered pairs."""
        return np.arange(2 * self.unordered)

    @property
    def unordered(self) -> int:
        """Pairs, each counted once."""
        return len(self.left) * len(self.i)

    def find(self, number: Int[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Attribute, first and second entity of ordered pairs."""
        attribute, pair = np.divmod(number >> 1, len(self.i))
        left, right = self.left[attribute, self.i[pair]], self.right[attribute, self.j[pair]]
        turned = number & 1 == 1
        return attribute, np.where(turned, right, left), np.where(turned, left, right)


def split(world: Values) -> dict[str, Pairs]:
    """The pairs by whom they compare: two ID entities, two OOD ones, one of each."""
    return {
        "id": Pairs.within(world.id),
        "ood": Pairs.within(world.ood),
        "mixed": Pairs.between(world.id, world.ood),
    }


def both_ways(pairs: Int[np.ndarray, " n"]) -> Int[np.ndarray, " 2n"]:
    """Numbers of the ordered pairs of unordered ones."""
    return (2 * pairs[:, None] + np.arange(2)).ravel()


def values(options: MakeOptions, size: World) -> Values:
    """Uniform random values, and a random share of OOD entities for each attribute.

    Raises:
        UsageError: too few OOD or ID entities to compare.
    """
    count = round(size.ood * size.entities)
    if not 2 <= count <= size.entities - 2:
        more = "raise" if count < 2 else "lower"
        raise UsageError(
            f"--ood {size.ood:g} of --entities {size.entities} makes {count} OOD entities per attribute and "
            f"{size.entities - count} ID ones: comparing takes two of each; {more} --ood, or raise --entities"
        )
    shape = size.relations, size.entities
    value = stream(options.seed, "values").integers(size.values, size=shape)
    order = stream(options.seed, "ood entities").permuted(np.broadcast_to(np.arange(shape[1]), shape), axis=1)
    return Values(value, np.sort(order[:, count:], axis=1), np.sort(order[:, :count], axis=1), size.values)
