"""Looks at the dev split on the way: which student is kept, and when it is enough. The test split is never touched."""

import random
from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import NamedTuple

import actkit
import polars as pl
from runkit.parts import Parts
from runkit.progress import track

from memreason import answers, asking, tables
from memreason.codec import Codec, Rendered
from memreason.options import TrainOptions
from memreason.trace import Item
from memreason.training.lessons import gold, render


class Look(NamedTuple):
    """What was seen after a step: of `n` questions, the shares answered rightly and not at all."""

    step: int
    epoch: float
    n: int
    accuracy: float
    invalid: float
    loss: float | None

    def beats(self, other: "Look") -> bool:
        """By accuracy, then by answers that are none; of equals the earlier one stands."""
        return (self.accuracy, -self.invalid) > (other.accuracy, -other.invalid)


class Dev(NamedTuple):
    """What every look asks, the right answers, and the traces among them, for the loss. No rows: no dev split."""

    rows: list[Item]
    golds: list[str]
    traces: list[Rendered]
    max_new_tokens: int

    @classmethod
    def of(cls, rows: Sequence[Item], codec: Codec, context: int | None, answer: int, options: TrainOptions) -> "Dev":
        """A draw of the dev split's rows; none in arm `planned` has kinds, so there is no loss.

        Args:
            answer: tokens of the longest answer that is learnt.

        Raises:
            DataError: an answer that is none of the choices, an unknown kind.
        """
        count = min(len(rows), options.look_at)
        chosen = [rows[number] for number in sorted(random.Random(options.seed).sample(range(len(rows)), count))]
        known = chosen if options.arm != "planned" else []
        traces = [render(row, codec, options) for row in known if row.trace.steps]
        fits = [each for each in traces if context is None or len(each.ids) <= context]
        return cls(chosen, [gold(row) for row in chosen], fits, answer * 5 // 4 + 8)

    def score(self, model: actkit.Model, codec: Codec, size: int) -> tuple[float, float]:
        """Accuracy and share of invalid answers, greedily, in batches of so many."""
        prompts = [codec.prompt(row.trace.question) for row in self.rows]
        room, say = actkit.Room(), partial(asking.say, model, codec, max_new_tokens=self.max_new_tokens)
        right = invalid = 0
        order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))
        for first in track(range(0, len(order), size), "batches of dev questions"):
            numbers = order[first : first + size]
            found = room([prompts[n] for n in numbers], say)
            for number, each in zip(numbers, chain.from_iterable(found), strict=True):
                found = answers.read(codec.parse(each.new_ids).answer, self.rows[number].choices)
                invalid += found is None
                right += found == self.golds[number]
        return right / len(order), invalid / len(order)


def steps(total: int, looks: int) -> set[int]:
    """The steps after which there is a look, evenly spread; the last one is among them."""
    return {max(1, round(total * number / looks)) for number in range(1, looks + 1)}


class Looks:
    """The looks of a run, kept in its parts."""

    def __init__(self, parts: Parts, patience: int | None) -> None:
        self._parts, self._patience = parts, patience

    def at(self, step: int) -> Look | None:
        """The look after a step, where there was one."""
        return next((each for each in self._all() if each.step == step), None)

    def is_best(self, look: Look) -> bool:
        """Whether it is better than all before it."""
        return all(look.beats(each) for each in self._all() if each.step < look.step)

    def write(self, look: Look) -> None:
        """Keep it; the student has been saved before, where it is the best."""
        self._parts.write(look.step, pl.DataFrame([look._asdict()], schema=_SCHEMA))

    def enough(self, step: int) -> bool:
        """Whether the last looks up to a step were no better than the one before them."""
        seen = [each for each in self._all() if each.step <= step]
        best = max(range(len(seen)), key=lambda number: (seen[number].accuracy, -seen[number].invalid), default=0)
        return self._patience is not None and len(seen) - 1 - best >= self._patience

    def table(self) -> pl.DataFrame:
        """The table `selection`."""
        seen = self._all()
        best = max(seen, key=lambda each: (each.accuracy, -each.invalid, -each.step), default=None)
        rows = [each._asdict() | {"chosen": each is best} for each in seen]
        return pl.DataFrame(rows, schema=tables.columns(tables.Selection))

    def _all(self) -> list[Look]:
        if not self._parts.keys():
            return []
        return [Look(**row) for row in self._parts.collect().iter_rows(named=True)]


_SCHEMA = {name: kind for name, kind in tables.columns(tables.Selection).items() if name != "chosen"}
