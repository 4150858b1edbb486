"""What was measured during training, and the two moments that matter: fitted, and grokked."""

from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import polars as pl

from grokked_reasoning.dataset import World


class Event(NamedTuple):
    """A moment of a run; step is None where it has not come."""

    event: str
    threshold: float
    step: int | None
    id_accuracy: float | None
    ood_accuracy: float | None


@dataclass
class History:
    """All evaluations so far.

    fitted: all types of training facts at least at that accuracy (the paper's "training accuracy ≥ 99 %", section 3.2).
    grokked: all ID (or OOD) types at least at that accuracy in `patience` evaluations in a row; the first one counts.
    """

    trained: tuple[str, ...]
    id: tuple[str, ...]
    ood: tuple[str, ...]
    fitted: float
    grokked: float
    patience: int
    curves: list[dict[str, Any]] = field(default_factory=list)
    losses: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def start(cls, world: World, *, fitted: float, grokked: float, patience: int) -> "History":
        """An empty history."""
        return cls(world.trained, world.id, world.ood, fitted, grokked, patience)

    @classmethod
    def of(cls, plain: dict[str, Any]) -> "History":
        """What `plain` gave."""
        names = {name: tuple(plain[name]) for name in ("trained", "id", "ood")}
        return cls(**{**plain, **names})

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    def events(self) -> list[Event]:
        """fitted, grokked_id, grokked_ood. A world without rows of a kind has no such event."""
        asked = [
            ("fitted", self.trained, self.fitted, 1),
            ("grokked_id", self.id, self.grokked, self.patience),
            ("grokked_ood", self.ood, self.grokked, self.patience),
        ]
        return [self._event(name, types, threshold, run) for name, types, threshold, run in asked]

    def step_of(self, event: str) -> int | None:
        """When it was."""
        return next(each.step for each in self.events() if each.event == event)

    def lowest(self, types: tuple[str, ...]) -> dict[int, float]:
        """Step -> the least accuracy over these types (those that have rows)."""
        found: dict[int, float] = {}
        for row in self.curves:
            if row["type"] in types:
                found[row["step"]] = min(found.get(row["step"], 1.0), row["accuracy"])
        return found

    def tables(self) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
        """Frames for tables.Curves, Losses and Events."""
        events = pl.DataFrame(
            self.events(),
            schema={
                "event": pl.String,
                "threshold": pl.Float64,
                "step": pl.Int64,
                "id_accuracy": pl.Float64,
                "ood_accuracy": pl.Float64,
            },
            orient="row",
        )
        return pl.DataFrame(self.curves), pl.DataFrame(self.losses), events

    def _event(self, name: str, types: tuple[str, ...], threshold: float, in_a_row: int) -> Event:
        step = _first(self.lowest(types), threshold, in_a_row)
        if step is None:
            return Event(name, threshold, None, None, None)
        return Event(name, threshold, step, self.lowest(self.id).get(step), self.lowest(self.ood).get(step))


def _first(values: dict[int, float], threshold: float, in_a_row: int) -> int | None:
    """The first step from which on so many values in a row reach the threshold."""
    run: list[int] = []
    for step, value in sorted(values.items()):
        run = [*run, step] if value >= threshold else []
        if len(run) == in_a_row:
            return run[0]
    return None
