"""The exact checker's verdicts on a toy world, as rows of `blame` and `decoupling`."""

from collections.abc import Iterable, Iterator
from typing import Any

from memreason.judging.case import CHECKER, Said
from memreason.world import World


def blame(world: World, wrong: Iterable[Said]) -> Iterator[dict[str, Any]]:
    """A row of `tables.Blame` for each wrong answer: the first thing that went wrong."""
    for each in wrong:
        found = world.blame(each.question, each.steps, each.answer)
        yield {"id": each.id, "judge": CHECKER, "blame": found.kind, "step": found.step, "status": "ok",
               "rationale": None}  # fmt: skip


def contents(world: World, said: Iterable[Said]) -> Iterator[dict[str, Any]]:
    """A row of `tables.Decoupling` for each step: what it says, whatever it is labelled."""
    for each in said:
        verdicts = world.check(each.question, each.steps)
        for number, (step, verdict) in enumerate(zip(each.steps, verdicts, strict=True), start=1):
            yield {"id": each.id, "step": number, "judge": CHECKER, "kind": step.kind, "content": verdict.content,
                   "status": "ok"}  # fmt: skip
