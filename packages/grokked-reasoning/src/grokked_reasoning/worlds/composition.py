"""The task composition (paper, section 3.1 and appendix C): chains of facts, head and relations -> last tail."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Bool, Int
from runkit.errors import UsageError

from grokked_reasoning.options import MakeOptions
from grokked_reasoning.profiles import World
from grokked_reasoning.worlds.graph import Graph, graph
from grokked_reasoning.worlds.kinds import Kind, gathered
from grokked_reasoning.worlds.made import SPECIAL, Made, quota, stream


@dataclass(frozen=True)
class Chains:
    """Numbers of chains of so many hops by what they are for; `pool`, in random order, may be trained on."""

    hops: int
    pool: Int[np.ndarray, " n"]
    tests: dict[str, Int[np.ndarray, " m"]]

    def name(self, kind: str) -> str:
        """The type's name, with the hops where they are not two."""
        return kind if self.hops == 2 else f"{kind}_{self.hops}hop"


def make(options: MakeOptions, size: World) -> Made:
    """The world. Training: all atomic facts, and `phi` per ID fact of the chains that use ID facts alone.

    Raises:
        UsageError: sizes that make no such world; says which option to change.
    """
    world = graph(options, size)
    every = [two_hops(world, options, size)]
    if options.hops == 3:
        every.append(three_hops(world, every[0], options, size))
    learned = [*_learned(world, every, size), *([_identity(world)] if options.identity else [])]
    held = [Kind(c.name(kind), which, partial(world.text, c.hops)) for c in every for kind, which in c.tests.items()]
    return gathered(
        learned,
        held,
        size.probes,
        options.seed,
        vocabulary=world.tokens + world.relations + SPECIAL,
        facts=world.frame(),
        id=("test_inferred_iid",),
        ood=("test_inferred_ood",),
        typed=False,
        counts=_counts(world, every),
        head=lambda prompt: prompt.partition("<r_")[0],
    )


def two_hops(world: Graph, options: MakeOptions, size: World) -> Chains:
    """All chains of two facts, by which of them are OOD. The original drops those of one ID and one OOD fact.

    Raises:
        UsageError: no chain is left for a test.
    """
    number = world.chains(2)
    first, second = (world.ood[each] for each in world.facts(2, np.arange(number)))
    held = stream(options.seed, "held out").random(number) < size.held_out
    tests = {
        "test_inferred_iid": ~first & ~second & held,
        "test_inferred_ood": first & second,
        "test_inferred_io": ~first & second,
        "test_inferred_oi": first & ~second,
    }
    return _sorted(2, ~first & ~second & ~held, tests, options, size)


def three_hops(world: Graph, two: Chains, options: MakeOptions, size: World) -> Chains:
    """Chains of three facts, all ID or all OOD; ID ones only where no part of them is held out for the two-hop test.

    Raises:
        UsageError: no chain is left for a test.
    """
    number = np.arange(world.chains(3))
    known = np.zeros(world.chains(2), dtype=bool)
    known[two.pool] = True
    first, second, third = world.facts(3, number)
    inside = known[number // world.degree] & known[second * world.degree + number % world.degree]
    held = stream(options.seed, "held out, three hops").random(len(number)) < size.held_out
    outside = world.ood[first] & world.ood[second] & world.ood[third]
    tests = {"test_inferred_iid": inside & held, "test_inferred_ood": outside}
    return _sorted(3, inside & ~held, tests, options, size)


def _sorted(
    hops: int, pool: Bool[np.ndarray, " n"], tests: Mapping[str, np.ndarray], options: MakeOptions, size: World
) -> Chains:
    """Masks over all chains as numbers of chains."""
    found = {kind: np.flatnonzero(mask) for kind, mask in tests.items()}
    if not len(found["test_inferred_ood"]):
        raise UsageError(
            f"no chain of {hops} OOD facts in this graph: raise --ood {size.ood:g} (or --degree, --entities)"
        )
    if not len(found["test_inferred_iid"]):
        raise UsageError(
            f"no chain of {hops} ID facts is held out for the test: raise --held-out {size.held_out:g} "
            "(or --degree, --entities; a smaller --ood leaves more ID facts)"
        )
    return Chains(hops, stream(options.seed, f"pool {hops}").permutation(np.flatnonzero(pool)), found)


def _learned(world: Graph, every: list[Chains], size: World) -> list[Kind]:
    """The types of training rows."""
    split = {"id_atomic": np.flatnonzero(~world.ood), "ood_atomic": np.flatnonzero(world.ood)}
    made = [Kind(name, which, partial(world.text, 1)) for name, which in split.items()]
    for each in every:
        count = quota(size.phi, len(split["id_atomic"]), len(each.pool))
        made.append(Kind(each.name("train_inferred"), each.pool[:count], partial(world.text, each.hops), shuffled=True))
    return made


def _identity(world: Graph) -> Kind:
    """Every entity asked for itself (2509.24653)."""
    return Kind("identity", np.arange(len(world.entities)), world.identity)


def _counts(world: Graph, every: list[Chains]) -> dict[str, int]:
    ood = int(world.ood.sum())
    counts = {"atomic": len(world.tail), "id_atomic": len(world.tail) - ood, "ood_atomic": ood}
    for each in every:
        counts |= {each.name("chains"): world.chains(each.hops), each.name("pool"): len(each.pool)}
        counts |= {each.name(kind): len(which) for kind, which in each.tests.items()}
    return counts
