"""The ways of steering: what the user asks for, and the probes, which ask how far a student lets itself be steered."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from runkit.errors import UsageError

from memreason.options import SteerOptions
from memreason.scheme import TokenScheme
from memreason.steering.rules import Rules, told
from memreason.trace import KINDS, MEMORY, REASON, Item
from memreason.world import World, language

NONE, ASKED = "none", "asked"
FACTS, FALSE = "facts supplied", "false fact"
GROUP = " / "
"""Between the name of a way of steering and that of a part of the questions."""
_FREE = Rules()


class Intervention(NamedTuple):
    """`rules`: of each question that is asked, by id. `leads`: where a false fact is told, the answer it leads to."""

    name: str
    rules: dict[str, Rules]
    leads: dict[str, str]


def interventions(
    options: SteerOptions,
    items: Sequence[Item],
    scheme: TokenScheme,
    world: World | None,
    facts: Mapping[str, Sequence[str]],
) -> list[Intervention]:
    """No steering at all (but the grammar, as in all others), what is asked for, then the probes.

    Args:
        facts: texts that the user supplies, by id; where there are any, only these questions are steered as asked.

    Raises:
        UsageError: nothing is left to be done, or a student of this scheme cannot be steered so.
    """
    found = [*_asked(options, items, scheme, facts)]
    if options.probes:
        found += [*_kind_probes(items, scheme), *(_world_probes(items, scheme, world) if world else ())]
    if not found:
        raise UsageError(
            f"there is nothing to steer: a student of arm {scheme.arm} writes neither memory nor reason, these are no "
            "questions of a toy world, and no --facts are given"
            if options.probes
            else "there is nothing to steer: give --force, --forbid, --cap-memory, --cap-reason or --facts, or --probes"
        )
    return [Intervention(NONE, {item.id: _FREE for item in items}, {}), *found]


def left_out(options: SteerOptions, scheme: TokenScheme, world: World | None) -> list[str]:
    """Which probes cannot be made of this student and these questions, in words."""
    reasons = {
        f"arm {scheme.arm} does not write memory and reason before its steps: neither is forced nor turned off": (
            set(KINDS) <= set(told(scheme))
        ),
        "no toy world is behind these questions: no needed or false facts are supplied": world is not None,
    }
    return [reason for reason, able in reasons.items() if options.probes and not able]


def _asked(
    options: SteerOptions, items: Sequence[Item], scheme: TokenScheme, facts: Mapping[str, Sequence[str]]
) -> Iterable[Intervention]:
    limits = {MEMORY: options.cap_memory, REASON: options.cap_reason}
    caps = {kind: cap for kind, cap in limits.items() if cap is not None}
    if not (options.force or options.forbid or caps or facts):
        return
    rules = {
        item.id: _supplying(scheme, facts.get(item.id, ()), Rules(options.force, options.forbid, caps))
        for item in items
        if item.id in facts or not facts
    }
    for each in rules.values():
        each.check(scheme)
    yield Intervention(ASKED, rules, {})


def _kind_probes(items: Sequence[Item], scheme: TokenScheme) -> Iterable[Intervention]:
    """Each kind forced as the first step, and each turned off; for students that write both."""
    if not set(KINDS) <= set(told(scheme)):
        return
    rules = {f"first {kind}": Rules(force=(kind,)) for kind in KINDS}
    rules |= {f"{kind} off": Rules(forbid=(kind,)) for kind in KINDS}
    for name, each in rules.items():
        yield Intervention(name, {item.id: each for item in items}, {})


def _world_probes(items: Sequence[Item], scheme: TokenScheme, world: World) -> Iterable[Intervention]:
    """All facts that are needed, supplied; a false one in its place among them, the later ones left to the student."""
    needed = {item.id: world.facts(item.trace.question) for item in items}
    yield Intervention(FACTS, {key: _supplying(scheme, texts, _FREE) for key, texts in needed.items()}, {})
    overrides = {item.id: world.override(item.trace.question) for item in items}
    false = {key: each for key, each in overrides.items() if each is not None}
    if false:
        yield Intervention(
            FALSE,
            {key: _supplying(scheme, _misled(needed[key], each.fact, world), _FREE) for key, each in false.items()},
            {key: each.answer for key, each in false.items()},
        )


def _supplying(scheme: TokenScheme, facts: Sequence[str], rules: Rules) -> Rules:
    """First the facts, as memory steps where there is that kind, then what the rules say."""
    first = (MEMORY,) * len(facts) if MEMORY in told(scheme) else ()
    return Rules((*first, *rules.force), rules.forbid, rules.caps, tuple(facts))


def _misled(facts: Sequence[str], false: str, world: World) -> list[str]:
    """The facts up to the one that a false one stands in for, and that one."""
    slots = [fact.slot if (fact := language.fact(text, world.content)) else None for text in (*facts, false)]
    return [*facts[: slots.index(slots[-1])], false]
