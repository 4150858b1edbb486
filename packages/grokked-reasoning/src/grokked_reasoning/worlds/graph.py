"""A graph of random facts, and the chains in it: the world of the composition task.

Chains are numbered, never listed: with `degree` facts per entity, the facts of a chain follow from its number.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, isqrt

import numpy as np
import polars as pl
from jaxtyping import Bool, Int
from runkit.errors import UsageError

from grokked_reasoning.options import MakeOptions
from grokked_reasoning.profiles import World
from grokked_reasoning.vocabulary import END
from grokked_reasoning.worlds.kinds import Text
from grokked_reasoning.worlds.made import stream


@dataclass(frozen=True)
class Graph:
    """Facts (head, relation, tail), `degree` in a row per head: fact f is one of entity f // degree.

    entities, relations: as text. relation, tail: numbers of them. ood: no inferred training fact uses the fact.
    """

    entities: list[str]
    relations: list[str]
    relation: Int[np.ndarray, " facts"]
    tail: Int[np.ndarray, " facts"]
    ood: Bool[np.ndarray, " facts"]
    tokens: list[str]
    """What entities are written with, as vocab.json lists them."""

    @property
    def degree(self) -> int:
        return len(self.tail) // len(self.entities)

    def chains(self, hops: int) -> int:
        """How many chains of so many facts there are."""
        return len(self.tail) * self.degree ** (hops - 1)

    def facts(self, hops: int, chain: Int[np.ndarray, " n"]) -> list[Int[np.ndarray, " n"]]:
        """The facts of chains, hop by hop; the head of each fact is the tail of the one before."""
        found = [chain // self.degree ** (hops - 1)]
        for left in reversed(range(hops - 1)):
            found.append(self.tail[found[-1]] * self.degree + chain // self.degree**left % self.degree)
        return found

    def text(self, hops: int, chain: Int[np.ndarray, " n"]) -> Iterator[Text]:
        """Chains as text: head and relations, last tail. A chain of one hop is an atomic fact."""
        names, relations = np.array(self.entities, dtype=object), np.array(self.relations, dtype=object)
        facts = self.facts(hops, chain)
        prompts = names[facts[0] // self.degree]
        for each in facts:
            prompts = prompts + relations[self.relation[each]]
        return zip(prompts.tolist(), (names + END)[self.tail[facts[-1]]].tolist(), strict=True)

    def identity(self, entity: Int[np.ndarray, " n"]) -> Iterator[Text]:
        """Entities as text: itself, itself."""
        return ((self.entities[each], self.entities[each] + END) for each in entity.tolist())

    def frame(self) -> pl.DataFrame:
        """The facts as text (tables.Facts)."""
        names = np.array(self.entities)
        return pl.DataFrame(
            {
                "head": names.repeat(self.degree),
                "relation": np.array(self.relations)[self.relation],
                "tail": names[self.tail],
                "split": np.where(self.ood, "ood", "id"),
            }
        )


def graph(options: MakeOptions, size: World) -> Graph:
    """A graph of the paper's kind (section 3.1): `degree` distinct relations per entity, each to a random entity.

    Raises:
        UsageError: fewer relations than facts per entity, or too few names.
    """
    if size.relations < size.degree:
        raise UsageError(
            f"--relations {size.relations} is less than --degree {size.degree}: the facts of an entity have different "
            f"relations; give --relations {size.degree} at least, or a smaller --degree"
        )
    entities, tokens = _named(options, size.entities)
    random = stream(options.seed, "graph")
    numbers = np.arange(size.relations, dtype=np.int32)
    relation = np.concatenate([random.permutation(numbers)[: size.degree] for _ in entities])
    count = len(relation)
    tail = random.integers(size.entities, size=count)
    ood = np.zeros(count, dtype=bool)
    ood[stream(options.seed, "ood facts").permutation(count)[: round(size.ood * count)]] = True
    return Graph(entities, [f"<r_{i}>" for i in range(size.relations)], relation, tail, ood, tokens)


def _named(options: MakeOptions, count: int) -> tuple[list[str], list[str]]:
    """What entities are called, and the tokens of that: one of its own, or a first and a last name (appendix C)."""
    if options.entity_tokens == 1:
        names = [f"<e_{i}>" for i in range(count)]
        return names, names
    each = ceil(count / options.multiplicity)
    if each**2 < count:
        raise UsageError(
            f"--multiplicity {options.multiplicity}: {each} first and {each} last names make {each**2} entities, "
            f"not {count}: at most --multiplicity {isqrt(count)}"
        )
    first, last = ([f"<{part}_{i}>" for i in range(each)] for part in ("first", "last"))
    pairs = stream(options.seed, "names").choice(each**2, count, replace=False).tolist()
    return [first[pair // each] + last[pair % each] for pair in pairs], first + last
