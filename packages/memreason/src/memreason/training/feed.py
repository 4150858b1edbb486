"""Which traces and texts each step takes, and their ids as tensors. All of it is a function of seed and step."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from runkit.learning import batches
from torch import Tensor

from memreason.codec import Rendered
from memreason.options import TrainOptions
from memreason.training.lessons import Lessons

_PAD = 0
"""Any id: padding stands on the right, where a causal model cannot see it, and nothing is learnt there."""


class Batch(NamedTuple):
    """`places`: where in the flattened ids a token is predicted that is learnt; `targets`: those tokens."""

    ids: Int[Tensor, "b T"]
    places: Int[Tensor, " N"]
    targets: Int[Tensor, " N"]

    def to(self, device: torch.device) -> "Batch":
        return Batch(*(each.to(device, non_blocking=True) for each in self))


def collate(rows: Sequence[Rendered]) -> Batch:
    """Rows padded on the right; the token after each prompt is learnt, and all behind it."""
    width = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), width), _PAD)
    places: list[Tensor] = []
    for number, row in enumerate(rows):
        ids[number, : len(row.ids)] = torch.tensor(row.ids)
        places.append(torch.arange(max(row.prompt, 1) - 1, len(row.ids) - 1) + number * width)
    found = torch.cat(places)
    return Batch(ids, found, ids.flatten()[found + 1])


class Feed:
    """The batches of every step: `--accumulate` of traces, and one of texts where there are some.

    Attributes:
        per_epoch, steps: of an epoch, and in all.
    """

    def __init__(self, lessons: Lessons, options: TrainOptions) -> None:
        self._lessons, self._options = lessons, options
        self._order: tuple[int, list[list[int]]] = (-1, [])
        self._texts: tuple[int, list[int]] = (-1, [])
        count = math.ceil(len(lessons.traces) / options.batch_size)
        self.per_epoch = math.ceil(count / options.accumulate)
        self.steps = max(1, round(options.epochs * self.per_epoch))

    def step(self, number: int) -> list[list[Rendered]]:
        """The batches of a step; steps count from 0."""
        epoch, place = divmod(number, self.per_epoch)
        if self._order[0] != epoch:
            lengths = [len(each.ids) for each in self._lessons.traces]
            self._order = epoch, batches(lengths, self._options.batch_size, (self._options.seed, epoch))
        first = place * self._options.accumulate
        chosen = self._order[1][first : first + self._options.accumulate]
        texts = list(self._mixed(number))
        found = [[self._lessons.traces[row] for row in rows] for rows in chosen]
        return [*found, texts] if texts else found

    def _mixed(self, number: int) -> Iterator[Rendered]:
        """Texts in an endless shuffled stream."""
        total = len(self._lessons.texts)
        for place in range(number * self._options.mix, (number + 1) * self._options.mix) if total else ():
            yield self._lessons.texts[self._shuffled(place // total)[place % total]]

    def _shuffled(self, epoch: int) -> list[int]:
        if self._texts[0] != epoch:
            dice = np.random.default_rng((self._options.seed, epoch, len(self._lessons.texts)))
            self._texts = epoch, dice.permutation(len(self._lessons.texts)).tolist()
        return self._texts[1]


def share(rows: Sequence[Rendered], rank: int, size: int) -> Batch:
    """What one of several processes takes of a batch; one that gets no row computes the first, and learns nothing."""
    own = collate(rows[rank::size] or rows[:1])
    return own if rows[rank::size] else Batch(own.ids, own.places[:0], own.targets[:0])


def supervised(rows: Sequence[Rendered]) -> int:
    """Tokens that are learnt in a batch."""
    return sum(len(row.ids) - max(row.prompt, 1) for row in rows)
