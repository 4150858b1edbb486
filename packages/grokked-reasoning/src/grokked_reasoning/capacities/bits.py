"""From losses to bits of knowledge: pure functions, everything in bits.

A model that answers a subject of N people with a mean loss of L bits, where a guess among the values that occur would
cost H, knows N (H - L) bits of it; and it knows which names and dates occur at all. Johnston & Belrose (2025,
2502.03490) and their measuring code, after the bit-complexity lower bound of Allen-Zhu & Li (2024, 2404.05405, section
3). Two faults of that code are not repeated: every subject has a multiplier of its own (there it stays 2 once it has
been 2), and bits on top of others count no selection (there this is not passed on).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import lgamma, log, log2, sqrt
from typing import Literal

Selection = Literal["optimal", "enumerate", "independent"]
Scheme = Literal["average", "per-attribute", "2-hop-big-hash", "2-hop-double"]
Losses = Mapping[str, float]
"""Mean loss of an answer per subject."""
ALL = "all"
DATE = "birth_date"


@dataclass(frozen=True)
class Knowable:
    """What there is to know of some people.

    names, days: how many there are to choose from; values: how many different ones of each subject occur (of a
    relation: people); relations: subjects that are people.
    """

    people: int
    names: int
    days: int
    values: Mapping[str, int]
    relations: frozenset[str]

    def entropy(self, subject: str) -> float:
        """H of one answer: a uniform choice among the values that occur."""
        return log2(self.values[subject])

    def name_selection(self, selection: Selection) -> float:
        """Which names there are: N log2 N0 in order (enumerate), less N log2 N as a set (optimal), or not counted."""
        ordered = self.people * log2(self.names)
        return {"enumerate": ordered, "optimal": ordered - self.people * log2(self.people), "independent": 0.0}[
            selection
        ]

    def date_selection(self) -> float:
        """Which dates there are: log2 of the ways to choose those that occur among all days."""
        return log2_choose(self.days, self.values[DATE]) if DATE in self.values else 0.0


def log2_choose(n: int, k: int) -> float:
    """log2 of n over k."""
    return (lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)) / log(2)


def average(world: Knowable, losses: Losses, selection: Selection = "optimal", times: float = 1.0) -> float:
    """C = (sum H - mean L |A|) m N + S_name + S_date; what is lost beyond sum H counts once, without m.

    `times` is m, how often every fact is stored: 1, or for answers to two-hop questions that are memorised one by one
    the number of such questions per person and subject (the reference: the number of relations).
    """
    gained = sum(world.entropy(subject) - loss for subject, loss in losses.items())
    stored = gained * (times if gained > 0 else 1.0) * world.people
    dated = world.date_selection() if DATE in losses else 0.0
    return stored + world.name_selection(selection) + dated


def per_attribute(
    world: Knowable, losses: Losses, selection: Selection = "optimal", times: Mapping[str, float] | float = 1.0
) -> dict[str, float]:
    """C_a = (H_a - L_a) m_a N, without m_a where that is negative; relations share S_name, birth dates bear S_date.

    Returns:
        Bits per subject, and their sum as "all".
    """
    related = [subject for subject in losses if subject in world.relations]
    found: dict[str, float] = {}
    for subject, loss in losses.items():
        gained = world.entropy(subject) - loss
        m = times if isinstance(times, float | int) else times.get(subject, 1.0)
        found[subject] = gained * (m if gained > 0 else 1.0) * world.people
        if subject in world.relations:
            found[subject] += world.name_selection(selection) / len(related)
        if subject == DATE:
            found[subject] += world.date_selection()
    return found | {ALL: sum(found.values())}


def loss_per_hop(loss: float, values: int) -> float:
    """The loss of one hop that explains the loss of a two-hop answer, at most log2 n for n values.

    If either hop is right with probability p and a wrong person has the right answer by chance, then
    2^(-L) = p^2 + (1 - p) / n; the larger root is the p of a model that knows more than chance.
    """
    chance = 1 / values
    discriminant = chance**2 - 4 * (chance - 2**-loss)
    if discriminant < 0:
        return log2(values)
    p = (chance + sqrt(discriminant)) / 2
    return min(max(0.0, -log2(p)), log2(values))


def double(world: Knowable, losses: Losses, selection: Selection = "optimal") -> dict[str, float]:
    """Two functions that are composed, so that facts which serve in both hops, the relations, are stored twice.

    `losses` are those of two-hop answers. Returns bits per subject, and their sum as "all".
    """
    hop = {subject: loss_per_hop(loss, world.values[subject]) for subject, loss in losses.items()}
    return per_attribute(world, hop, selection, dict.fromkeys(world.relations, 2.0))


def more(world: Knowable, losses: Losses) -> float:
    """Bits on top of others: the average scheme without selection, which has been counted, and never below 0."""
    return max(0.0, world.people * sum(world.entropy(subject) - loss for subject, loss in losses.items()))


def capacity(
    scheme: Scheme, world: Knowable, losses: Losses, selection: Selection = "optimal", times: float = 1.0
) -> dict[str, float]:
    """Bits per subject where the scheme tells them apart, and of all as "all"; see the functions of this module.

    `times` matters to 2-hop-big-hash alone: two-hop questions per person and subject.
    """
    match scheme:
        case "average":
            return {ALL: average(world, losses, selection)}
        case "per-attribute":
            return per_attribute(world, losses, selection)
        case "2-hop-big-hash":
            total = average(world, losses, selection, times)
            return per_attribute(world, losses, selection, times) | {ALL: total}
        case "2-hop-double":
            return double(world, losses, selection)
