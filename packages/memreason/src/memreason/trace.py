"""A chain of thought whose steps say what they are: recalled, or inferred."""

from typing import NamedTuple

MEMORY, REASON = KINDS = ("memory", "reason")


class Step(NamedTuple):
    """One step, on one line. `kind`: memory or reason, or what another scheme calls it; "" where nothing is told."""

    kind: str
    text: str


class Trace(NamedTuple):
    """A question, the steps to its answer, and the answer. What a model says may have none: None."""

    question: str
    steps: tuple[Step, ...]
    answer: str | None

    def kinds(self) -> tuple[str, ...]:
        """The steps' kinds, in order."""
        return tuple(step.kind for step in self.steps)

    def relabelled(self, kinds: tuple[str, ...]) -> "Trace":
        """The same steps under other kinds."""
        pairs = zip(kinds, self.steps, strict=True)
        return self._replace(steps=tuple(Step(kind, step.text) for kind, step in pairs))


class Item(NamedTuple):
    """A trace of a dataset. `split`: train, dev, test, ...; `choices`: the answers there are, () where any will do."""

    id: str
    dataset: str
    split: str
    trace: Trace
    choices: tuple[str, ...] = ()
