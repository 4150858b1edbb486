"""Which comparisons of OOD entities take the ID atomic facts to decide: the hard test of complex reasoning.

The paper asks for reachability in graphs whose edge x -> y says "x is at least y". In both graphs every edge is true,
so a path both ways means "equal", a path one way "greater", and none "cannot be told". (Of equal entities a path has
equal ones all along; each of its steps is an "=", an edge each way, so it is never there one way only.)

*Solvable* graph: the training comparisons of an OOD with an ID entity, and all orderings of ID entities. There is no
edge between OOD entities; and between the first ID entity a of a path and the last one b, a -> b is an edge itself.
So there is a path from x to y exactly where some a that x is known to be at least, and some b that is known to be at
least y, have value(a) >= value(b): the largest such a and the smallest such b decide.

*Easy* graph: the training comparisons alone. They order ID entities only partly, so such bounds do not suffice, but no
edge leads up in value. Entities joined by "=" reach the same; taking the other edges from the lowest value up, all that
the lower end of an edge reaches is known before it is asked for.
"""

import numpy as np
from jaxtyping import Bool, Int

from grokked_reasoning.worlds.attributes import Pairs, Values

Compared = tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"], Int[np.ndarray, " n"]]
"""Attribute, first and second entity of comparisons."""


def pairs(world: Values, ood: Pairs, cross: Compared, inside: Compared) -> Int[np.ndarray, " n"]:
    """Numbers of the pairs in `ood` that the solvable graph decides and the easy one does not (section 5).

    cross, inside: the training comparisons of an ID with an OOD entity, and of two ID entities.
    """
    attribute, one, other = ood.find(ood.all())
    low, high = bounds(world, at_least(world, cross))
    solvable = low[attribute, one] >= high[attribute, other]
    easy = reached(world, (attribute, one, other), [at_least(world, each) for each in (cross, inside)])
    # a pair's number and that of its other way round differ in the last bit
    turned = ood.all() ^ 1
    return np.flatnonzero((solvable | solvable[turned]) & ~(easy | easy[turned]))


def at_least(world: Values, compared: Compared) -> Compared:
    """The edges that comparisons give: attribute, the entity that is at least the other, the other."""
    attribute, one, other = compared
    label = world.label(*compared)
    more, less = label >= 1, label <= 1
    return (
        np.concatenate([attribute[more], attribute[less]]),
        np.concatenate([one[more], other[less]]),
        np.concatenate([other[more], one[less]]),
    )


def bounds(world: Values, edges: Compared) -> tuple[Int[np.ndarray, "A E"], Int[np.ndarray, "A E"]]:
    """The tightest values of ID entities that an entity is known to be at least, and at most.

    An ID entity's are its own value; where nothing is known, they are out of range.
    """
    attribute, upper, lower = edges
    told = np.take_along_axis(world.value, world.id, axis=1)
    floor, ceiling = np.full_like(world.value, -1), np.full_like(world.value, world.levels)
    np.put_along_axis(floor, world.id, told, axis=1)
    np.put_along_axis(ceiling, world.id, told, axis=1)
    low, high = floor.copy(), ceiling.copy()
    np.maximum.at(low, (attribute, upper), floor[attribute, lower])
    np.minimum.at(high, (attribute, lower), ceiling[attribute, upper])
    return low, high


def reached(world: Values, asked: Compared, edges: list[Compared]) -> Bool[np.ndarray, " n"]:
    """Whether the first entity of each pair reaches the second along the edges."""
    count = world.value.shape[1]
    attribute, upper, lower = (np.concatenate(each) for each in zip(*edges, strict=True))
    upper, lower = upper + attribute * count, lower + attribute * count
    value = world.value.ravel()
    equal = value[upper] == value[lower]
    group = _groups(len(value), upper[equal], lower[equal])
    # bit k of a group's mask: the k-th OOD entity of its attribute is reached
    masks = [0] * len(value)
    goals = (world.ood + np.arange(len(world.ood))[:, None] * count).tolist()
    for goal in goals:
        for bit, node in enumerate(goal):
            masks[group[node]] |= 1 << bit
    steps = np.argsort(value[upper[~equal]], kind="stable")
    above, below = (group[each[~equal][steps]].tolist() for each in (upper, lower))
    for one, other in zip(above, below, strict=True):
        masks[one] |= masks[other]
    place = np.zeros_like(world.value)
    np.put_along_axis(place, world.ood, np.arange(world.ood.shape[1])[None], axis=1)
    start = group[asked[0] * count + asked[1]].tolist()
    return np.array(
        [masks[s] >> bit & 1 for s, bit in zip(start, place[asked[0], asked[2]].tolist(), strict=True)], bool
    )


def _groups(count: int, one: Int[np.ndarray, " n"], other: Int[np.ndarray, " n"]) -> Int[np.ndarray, " count"]:
    """The first entity that each is joined to, step by step; every edge is there both ways."""
    group = np.arange(count)
    while True:
        joined = group.copy()
        np.minimum.at(joined, one, group[other])
        if (joined == group).all():
            return group
        group = joined
