"""Attention maps, added up by class and by step as soon as a layer has made them: none is kept."""

from collections.abc import Sequence
from typing import NamedTuple

import actkit
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from memreason.attending.classing import Classed


class Sums(NamedTuple):
    """Over the tokens of one batch, for each layer and head.

    `mass`: attention from the queries of a class to keys of a class, classes as they are and in each shuffle;
    `entropy`: of the queries' attention, in nats; `steps`: attention between steps, mean of all layers and heads, for
    each row.
    """

    mass: Float[np.ndarray, "L draws H C C"]
    entropy: Float[np.ndarray, "L H C"]
    steps: Float[np.ndarray, "B S S"]


def reduced(
    model: actkit.Model,
    ids: Sequence[list[int]],
    told: Sequence[Classed],
    layers: Sequence[int],
    sizes: tuple[int, int],
) -> Sums:
    """One pass over a batch. `sizes`: how many classes there are, and how many steps the longest trace has."""
    reducer = _Reducer(told, *sizes)
    batch = model.encode(list(ids), pad="right")  # so that a token's column is its number
    model.run(batch, capture=[f"attn_pattern.{layer}" for layer in layers], logits=None, on_capture=reducer)
    return reducer.sums()


def joined(parts: Sequence[Sums]) -> Sums:
    """Of a batch that was taken in parts."""
    mass, entropy, steps = zip(*parts, strict=True)
    return Sums(np.sum(mass, axis=0), np.sum(entropy, axis=0), np.concatenate(steps))


class _Reducer:
    def __init__(self, told: Sequence[Classed], classes: int, segments: int) -> None:
        self._draws = _one_hot(_padded([each.labels for each in told]), classes)
        self._segments = _one_hot(_padded([each.segments for each in told]), segments)
        self._mass: list[Tensor] = []
        self._entropy: list[Tensor] = []
        self._steps: list[Tensor] = []

    def __call__(self, _site: str, pattern: Float[Tensor, "B T H T"]) -> None:
        weights = pattern.float().transpose(1, 2).contiguous()
        self._draws, self._segments = (each.to(weights.device) for each in (self._draws, self._segments))
        self._mass.append(_between(weights, self._draws))
        self._entropy.append(torch.einsum("bht,btc->hc", torch.special.entr(weights).sum(-1), self._draws[:, 0]))
        self._steps.append(self._segments.transpose(1, 2) @ weights.mean(1) @ self._segments)

    def sums(self) -> Sums:
        """What was added up; here the device is waited for."""
        mass, entropy, steps = (
            torch.stack([each.cpu() for each in found]).double().numpy()
            for found in (self._mass, self._entropy, self._steps)
        )
        return Sums(mass, entropy, steps.mean(axis=0))


def _between(weights: Float[Tensor, "B H T T"], draws: Float[Tensor, "B draws T C"]) -> Float[Tensor, "draws H C C"]:
    """Attention from class to class; all draws read the weights together, because those are what is large."""
    columns = draws.transpose(1, 2).flatten(2)
    by_key = (weights @ columns[:, None]).unflatten(-1, (draws.shape[1], -1))
    return torch.einsum("bdtq,bhtdk->dhqk", draws, by_key)


def _padded(rows: Sequence[Int[np.ndarray, "*d t"]]) -> Int[np.ndarray, "B *d T"]:
    longest = max(row.shape[-1] for row in rows)
    ends = [[(0, 0)] * (row.ndim - 1) + [(0, longest - row.shape[-1])] for row in rows]
    return np.stack([np.pad(row, end, constant_values=-1) for row, end in zip(rows, ends, strict=True)])


def _one_hot(numbers: Int[np.ndarray, "*d"], count: int) -> Float[Tensor, "*d count"]:
    return (torch.from_numpy(numbers.copy())[..., None] == torch.arange(count)).float()
