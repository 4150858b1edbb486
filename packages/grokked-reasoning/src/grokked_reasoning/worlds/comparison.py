"""The task comparison (paper, sections 3.1 and 4): two entities by an attribute -> less, equal or greater."""

from functools import partial

import numpy as np
from jaxtyping import Int
from runkit.errors import UsageError

from grokked_reasoning.options import MakeOptions
from grokked_reasoning.profiles import World
from grokked_reasoning.worlds.attributes import Pairs, Wording, both_ways, split, values
from grokked_reasoning.worlds.kinds import Kind, gathered
from grokked_reasoning.worlds.made import Made, quota, stream

WORDING = Wording("<e_{}><attr_{}>", "<attr_{}><q><e_{}><mask><e_{}>", "")


def make(options: MakeOptions, size: World) -> Made:
    """The world. Training: all atomic facts, and `phi` per ID fact of the comparisons of two ID entities.

    Raises:
        UsageError: sizes that make no such world; says which option to change.
    """
    world = values(options, size)
    pairs = split(world)
    told = {name: partial(world.compared, WORDING, each) for name, each in pairs.items()}
    pool, held = parted(pairs["id"], options, size)
    count = quota(size.phi, world.id.size, len(pool))
    learned = [*world.atomic(WORDING), Kind("train_inferred", pool[:count], told["id"], shuffled=True)]
    unseen = [
        Kind("test_inferred_iid", held, told["id"]),
        Kind("test_inferred_ood", pairs["ood"].all(), told["ood"]),
        Kind("test_inferred_mixed", pairs["mixed"].all(), told["mixed"]),
    ]
    return gathered(
        learned,
        unseen,
        size.probes,
        options.seed,
        label_or_value,
        vocabulary=world.vocabulary(),
        facts=world.frame(),
        id=("test_inferred_iid",),
        ood=("test_inferred_ood",),
        counts=world.counts() | {"pool": len(pool)} | {each.name: len(each.numbers) for each in unseen},
    )


def parted(pairs: Pairs, options: MakeOptions, size: World) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " m"]]:
    """Ordered pairs of ID entities: those that may be trained on, in random order, and those held out for the test.

    Both ways round are always on the same side.

    Raises:
        UsageError: none is held out.
    """
    held = stream(options.seed, "held out").random(pairs.unordered) < size.held_out
    if not held.any():
        raise UsageError(
            f"no comparison of ID entities is held out for the test: raise --held-out {size.held_out:g} (or --entities)"
        )
    pool = both_ways(np.flatnonzero(~held))
    stream(options.seed, "pool").shuffle(pool)
    return pool, both_ways(np.flatnonzero(held))


def label_or_value(answer: str) -> str:
    """What an answer says, whatever the attribute: `<attr_3_2></a>` -> `2></a>`."""
    return answer.rpartition("_")[2]
