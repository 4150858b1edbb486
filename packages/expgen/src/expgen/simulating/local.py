"""Simulators that are causal language models in this process."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from actkit import Model, Room
from jaxtyping import Float, Int

from expgen.simulating import Asked, Prediction, Simulator, reading

_AHEAD = 16  # batches sorted by length together


class Encoded(NamedTuple):
    """A question as token ids. `at`: position in `ids` whose logits tell of each subject token; -1: none does."""

    ids: list[int]
    at: Int[np.ndarray, " T"]


class Local(Simulator):
    """Reads, at one position per token, the logits of one id per level of activation, and takes the expectation."""

    def __init__(self, name: str, model: Model, levels: Sequence[int], batch_size: int) -> None:
        self.name, self._lm, self._context, self._batch_size = name, model.hf.eval(), model.context, batch_size
        self._room = Room()
        reading.narrow(model.hf, levels)

    @abstractmethod
    def encode(self, asked: Asked) -> Encoded:
        """The question as this simulator puts it to its model."""

    def predict(self, asked: Sequence[Asked]) -> Iterator[Prediction]:
        """A prediction from 0 to the highest level per token for each, in order.

        A question that is longer than the model's context has a fault instead.

        Raises:
            ActkitError: a single question does not fit into memory.
        """
        size = _AHEAD * self._batch_size
        for start in range(0, len(asked), size):
            yield from self._predicted([self.encode(each) for each in asked[start : start + size]])

    def _predicted(self, asked: Sequence[Encoded]) -> list[Prediction]:
        found = {number: self._too_long(each) for number, each in enumerate(asked) if self._is_too_long(each)}
        fits = sorted((n for n in range(len(asked)) if n not in found), key=lambda n: len(asked[n].ids))
        for start in range(0, len(fits), self._batch_size):
            batch = fits[start : start + self._batch_size]
            read = self._room([asked[number] for number in batch], self._read)
            found |= zip(batch, chain.from_iterable(read), strict=True)
        return [found[number] for number in range(len(asked))]

    @torch.no_grad()
    def _read(self, batch: Sequence[Encoded]) -> list[Prediction]:
        values = reading.expected(reading.logits(self._lm, [each.ids for each in batch])).cpu().numpy()
        return [_told(row, each.at) for row, each in zip(values, batch, strict=True)]

    def _is_too_long(self, asked: Encoded) -> bool:
        return self._context is not None and len(asked.ids) > self._context

    def _too_long(self, asked: Encoded) -> Prediction:
        fault = f"description and text take {len(asked.ids)} tokens; the context of {self.name} is {self._context}"
        return Prediction(None, fault)


def _told(row: Float[np.ndarray, " S"], at: Int[np.ndarray, " T"]) -> Prediction:
    values = np.where(at >= 0, row[at], np.nan)
    if not np.isfinite(row[at[at >= 0]]).all():
        return Prediction(None, "the simulator's logits are not finite")
    return Prediction(values)
