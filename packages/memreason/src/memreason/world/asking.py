"""Which questions are asked in which split: each kind with as many answers yes as no."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations, cycle, product
from random import Random
from typing import NamedTuple

from runkit.errors import UsageError
from runkit.options import flag

from memreason.options import ToyOptions
from memreason.world import questions
from memreason.world.content import Content
from memreason.world.questions import NO, YES, Kind, Question

_DEAL = 11 * ("train",) + 6 * ("test",) + 3 * ("dev",)
"""Which split asks about the pairs, of so many: no two splits about the same."""
Pair = tuple[str, str]


class Pool(NamedTuple):
    """The questions of one kind that a split can ask."""

    yes: list[Question]
    no: list[Question]

    @property
    def most(self) -> int:
        """Questions with half of them yes, none asked twice."""
        return 2 * min(len(self.yes), len(self.no))


def drawn(world: Content, options: ToyOptions) -> dict[str, list[Question]]:
    """The questions of each split, in an order that tells nothing. Only training asks a question more than once.

    Raises:
        UsageError: more questions than there are; names the option and the most it can be.
    """
    draws = Random(f"{options.seed}/questions")
    kinds = questions.kinds(options.hops)
    pairs, regions = (_dealt(world, _pairs(world.people, others), draws) for others in (world.people, world.regions))
    pools = {split: _pools(world, kinds, pairs[split], regions[split]) for split in pairs}
    found = {"train": _repeated(options, pools["train"], draws)}
    for split, count in (("dev", options.dev), ("test", options.test)):
        found[split] = _once(pools[split], count, split, draws)
    if world.removed:
        pool = _pools(world, kinds, _pairs(world.people, world.removed), _pairs(world.removed, world.regions))
        found["removed"] = _once(pool, options.test // 2, "removed", draws)
    return {split: draws.sample(asked, len(asked)) for split, asked in found.items()}


def _pairs(left: Sequence[str], right: Sequence[str]) -> list[Pair]:
    """Each two of them once, in whatever order."""
    return list(combinations(left, 2) if left == right else product(left, right))


def _dealt(world: Content, pairs: Sequence[Pair], draws: Random) -> dict[str, list[Pair]]:
    """The pairs of each split. Those who live together are shared out apart from the others, for they are few."""
    shuffled = draws.sample(pairs, len(pairs))
    found: dict[str, list[Pair]] = {split: [] for split in dict.fromkeys(_DEAL)}
    deal = cycle(draws.sample(_DEAL, len(_DEAL)))
    for pair in sorted(shuffled, key=lambda pair: _together(world, *pair)):
        found[next(deal)].append(pair)
    return found


def _together(world: Content, person: str, other: str) -> tuple[bool, bool]:
    """Whether two people live in one city, and in one region; or a person in a region."""
    city = world.lives[person]
    others = world.lives.get(other)
    return city == others, world.lies[city] == (world.lies[others] if others else other)


def _pools(world: Content, kinds: Iterable[Kind], pairs: list[Pair], regions: list[Pair]) -> dict[Kind, Pool]:
    both = [*pairs, *((b, a) for a, b in pairs)]
    return {kind: _pool(world, kind, regions if kind.about_region else both) for kind in kinds}


def _pool(world: Content, kind: Kind, pairs: Iterable[Pair]) -> Pool:
    sides: dict[str, list[Question]] = {YES: [], NO: []}
    for a, b in pairs:
        if b != _end_of_mentors(world, kind, a):
            asked = Question(kind, a, b)
            sides[questions.solve(asked, world.truth).answer].append(asked)
    return Pool(sides[YES], sides[NO])


def _end_of_mentors(world: Content, kind: Kind, person: str) -> str:
    """Whom a question is about: nobody is compared to themselves."""
    for _ in range(kind.mentors):
        person = world.mentor[person]
    return person


def _once(pools: Mapping[Kind, Pool], count: int, split: str, draws: Random) -> list[Question]:
    """So many questions, as evenly over kinds as there are enough, none twice."""
    most = sum(pool.most for pool in pools.values())
    if count > most:
        raise UsageError(_too_many(count, most, split))
    found: list[Question] = []
    left = sorted(pools.values(), key=lambda pool: pool.most)
    for number, pool in enumerate(left):
        quota = min(pool.most, (count - len(found)) // (len(left) - number))
        found += [*draws.sample(pool.yes, (quota + 1) // 2), *draws.sample(pool.no, quota // 2)]
    return found


def _repeated(options: ToyOptions, pools: Mapping[Kind, Pool], draws: Random) -> list[Question]:
    """Training: each kind equally often; where there are too few questions they come again, to be told otherwise."""
    found: list[Question] = []
    for number, (kind, pool) in enumerate(pools.items()):
        if not pool.most:
            lacking = YES if not pool.yes else NO
            raise UsageError(
                f"--people {options.people}: no question {kind.name} of training has the answer {lacking}; give more "
                "people, or fewer cities"
            )
        quota = (options.questions - len(found)) // (len(pools) - number)
        found += [*_cycled(pool.yes, (quota + 1) // 2, draws), *_cycled(pool.no, quota // 2, draws)]
    return found


def _cycled(asked: Sequence[Question], count: int, draws: Random) -> Iterator[Question]:
    while count > 0:
        yield from draws.sample(asked, min(count, len(asked)))
        count -= len(asked)


def _too_many(count: int, most: int, split: str) -> str:
    if split == "removed":
        return (
            f"--test {2 * count}: split removed asks half as many, and of people who are removed there are only {most} "
            f"questions; give --test at most {2 * most + 1}, or a larger --removed"
        )
    pairs = "pairs that no other split asks about"
    return (
        f"{flag(split)} {count}: there are only {most} questions about {pairs}; give at most {most}, or more --people"
    )
