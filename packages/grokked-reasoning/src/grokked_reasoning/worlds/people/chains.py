"""Which questions of two and three hops are trained, and which are kept for which test.

Johnston & Belrose (2025, 2502.03490): six sets of people, relations, attributes and pairs are never part of a trained
two-hop question, each in a place of its own, and a share of the other questions is held out whole. Every fact is in
training as a one-hop question, so each test asks for a chain of known facts that is new in one way.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, UInt8

from grokked_reasoning.worlds.made import stream
from grokked_reasoning.worlds.people.lists import RELATIONS, SUBJECTS

TRAINED, COMPLETE = "train_twohop", "complete_two_hop"
SETS = (
    "first_people", "relations", "second_attributes", "person_relation_pairs", "second_people",
    "second_person_attribute_pairs",
)  # fmt: skip
"""A question that several sets hold out belongs to the first of them."""
KINDS = (TRAINED, *SETS, COMPLETE)
_DRAW = 1 << 18


@dataclass(frozen=True)
class Split:
    """kind[p, r, a]: place in KINDS of the question for subject a of relation r of person p.

    held_out: the members of each set, as numbers of people, relations and subjects.
    """

    knows: Int[np.ndarray, "N 17"]
    kind: UInt8[np.ndarray, "N 17 21"]
    held_out: dict[str, Int[np.ndarray, "..."]]

    @classmethod
    def draw(cls, knows: Int[np.ndarray, "N 17"], share: float, complete: float, seed: int) -> "Split":
        """`share` of the members of each set, at least one, and `complete` of the questions that no set holds out."""
        people, relations, subjects = len(knows), len(RELATIONS), len(SUBJECTS)
        sizes = {
            "first_people": (people,),
            "relations": (relations,),
            "second_attributes": (subjects,),
            "person_relation_pairs": (people, relations),
            "second_people": (people,),
            "second_person_attribute_pairs": (people, subjects),
        }
        drawn = {name: _some(shape, share, stream(seed, name)) for name, shape in sizes.items()}
        whole = stream(seed, COMPLETE).random((people, relations, subjects), np.float32) < complete
        kind = np.where(whole, KINDS.index(COMPLETE), 0).astype(np.uint8)
        for name in reversed(SETS):
            kind[np.broadcast_to(_questions(name, drawn[name], knows), kind.shape)] = KINDS.index(name)
        return cls(knows, kind, {name: np.argwhere(drawn[name]) for name in SETS})

    def questions(self, name: str) -> Int[np.ndarray, " n"]:
        """Numbers of all questions of a kind, in the order of person, relation, subject."""
        return np.flatnonzero(self.kind == KINDS.index(name))

    def told(self, names: list[str]) -> dict[str, list[Any]]:
        """The members of each set in words."""
        return {
            name: [_member(name, row, names) for row in self.held_out[name].tolist()] for name in sorted(self.held_out)
        }

    @property
    def long_pool(self) -> int:
        """How many questions of three hops have two trained two-hop questions as their parts."""
        trained = self.kind == 0
        onward = trained.sum(axis=2)
        return int((trained[:, :, : len(RELATIONS)] * onward[self.knows]).sum())

    def long(self, count: int, generator: np.random.Generator) -> Int[np.ndarray, "count 4"]:
        """Different questions of three hops out of that pool, as person, relation, relation, subject.

        Fewer of them are the first ones of more. `count` must not be larger than the pool.
        """
        shape = (len(self.knows), len(RELATIONS), len(RELATIONS), len(SUBJECTS))
        found = np.zeros(0, dtype=np.int64)
        while len(found) < count:
            drawn = generator.integers(np.prod(shape), size=_DRAW)
            person, first, second, subject = np.unravel_index(drawn, shape)
            bridge = self.knows[person, first]
            trained = (self.kind[person, first, second] == 0) & (self.kind[bridge, second, subject] == 0)
            together = np.concatenate([found, drawn[trained]])
            found = together[np.sort(np.unique(together, return_index=True)[1])]
        return np.stack(np.unravel_index(found[:count], shape), axis=1)


def _some(shape: tuple[int, ...], share: float, generator: np.random.Generator) -> Bool[np.ndarray, "..."]:
    """A mask with `share` of its places set, at least one."""
    total = int(np.prod(shape))
    mask = np.zeros(total, dtype=bool)
    mask[generator.choice(total, max(1, round(share * total)), replace=False)] = True
    return mask.reshape(shape)


def _questions(name: str, mask: Bool[np.ndarray, "..."], knows: Int[np.ndarray, "N 17"]) -> Bool[np.ndarray, "..."]:
    """The questions that a set holds out, in a shape that broadcasts to [N, 17, 21]."""
    match name:
        case "first_people":
            return mask[:, None, None]
        case "relations":
            return mask[None, :, None]
        case "second_attributes":
            return mask[None, None, :]
        case "person_relation_pairs":
            return mask[:, :, None]
        case "second_people":
            return mask[knows][:, :, None]
        case _:
            return mask[knows]


def _member(name: str, row: list[int], names: list[str]) -> Any:
    first = SUBJECTS[row[0]] if name in ("relations", "second_attributes") else names[row[0]]
    return first if len(row) == 1 else [first, SUBJECTS[row[1]]]
