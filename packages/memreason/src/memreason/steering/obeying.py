"""Whether an answer is as it was asked to be: by the kinds that stand before its steps, and by what the steps say."""

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import polars as pl

from memreason import measured
from memreason.steering.interventions import Intervention
from memreason.steering.rules import Rules
from memreason.trace import MEMORY, Step
from memreason.world import World


class Obeyed(NamedTuple):
    """How many demands there were, how many were met by the labels, and how many by the contents, too."""

    asked: int
    obeyed: int
    meant: int | None


def obeyed(rules: Rules, steps: Sequence[Step], contents: Sequence[str] | None) -> Obeyed:
    """One answer. A demand is a forced or supplied step, a kind forbidden, or a cap. `contents`: None if not known."""
    texts = [step.text for step in steps]
    by_label = _met(rules, [step.kind for step in steps], texts, None)
    by_content = None if contents is None else _met(rules, list(contents), texts, MEMORY)
    meant = None if by_content is None else sum(a and b for a, b in zip(by_label, by_content, strict=True))
    return Obeyed(len(by_label), sum(by_label), meant)


def _met(rules: Rules, kinds: Sequence[str], texts: Sequence[str], untold: str | None) -> list[bool]:
    """Of each demand whether it is met. `untold`: the kind of a supplied step that no kind was forced for."""
    supplied = deque(rules.supplied)
    demanded: list[tuple[str | None, str | None]] = [
        (kind, supplied.popleft() if kind == MEMORY and supplied else None) for kind in rules.force
    ]
    demanded += [(untold, text) for text in supplied]
    met = [
        place < len(texts) and kind in (None, kinds[place]) and text in (None, texts[place])
        for place, (kind, text) in enumerate(demanded)
    ]
    met += [kind not in kinds for kind in rules.forbid]
    return met + [list(kinds).count(kind) <= cap for kind, cap in rules.caps.items()]


def told(name: str, way: Intervention, answers: pl.DataFrame, world: World | None) -> dict[str, Any]:
    """A row of `tables.Interventions` about these answers. Where nothing is demanded, `meant` is None."""
    counts = [
        obeyed(way.rules[key], steps, [each.content for each in world.check(question, steps)] if world else None)
        for key, question, steps in measured.told_steps(answers)
    ]
    asked = sum(each.asked for each in counts)
    n, hits = len(answers), int(answers["correct"].sum())
    low, high = measured.wilson(hits, n)
    return {
        "name": name, "n": n, "accuracy": hits / n, "low": low, "high": high,
        "invalid": answers.filter(status="invalid").height / n,
        "asked": asked, "obeyed": sum(each.obeyed for each in counts),
        "meant": sum(each.meant or 0 for each in counts) if world and asked else None,
        "followed": followed(answers, way.leads) if way.leads else None,
    }  # fmt: skip


def followed(answers: pl.DataFrame, leads: dict[str, str]) -> int:
    """Answers that are what a false fact leads to."""
    return sum(leads.get(key) == answer for key, answer in answers.select("id", "answer").iter_rows())
