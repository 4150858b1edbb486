"""Random numbers that depend on where they are used and on nothing else: not on batching, order or device.

Each is a hash of a seed and of the place (item, position, unit), so an undisturbed run, a resumed one and one with
other batches draw the same; and two conditions that touch the same neuron at the same token get the same number, which
makes their difference the conditions' own.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

_STEPS = ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15))  # splitmix64 (Steele et al. 2014), as signed integers
_GOLDEN = -0x61C8864680B583EB
_BITS = 24  # as many as float32 holds exactly


def uniform(seed: int, *places: Int[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Numbers in (0, 1) for every combination that the broadcast `places` name."""
    return _unit(_hash(seed, places))


def gaussian(seed: int, *places: Int[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Standard normal numbers (Box and Muller 1958), from two stretches of one hash."""
    state = _hash(seed, places)
    return (-2 * _unit(state).log()).sqrt() * (2 * torch.pi * _unit(state << _BITS)).cos()


def _hash(seed: int, places: Sequence[Int[Tensor, "..."]]) -> Int[Tensor, "..."]:
    # The seed is mixed before any place is added to it: else seed 1 at item 0 were seed 0 at item 1.
    state = _mixed(torch.full((), seed, dtype=torch.int64, device=places[0].device))
    for place in places:
        state = _mixed(state + place.long())
    return state


def _unit(state: Int[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The highest bits as a number in (0, 1)."""
    return (_shifted(state, 64 - _BITS).float() + 0.5) / (1 << _BITS)


def _mixed(state: Int[Tensor, "..."]) -> Int[Tensor, "..."]:
    state = state + _GOLDEN
    for shift, factor in _STEPS:
        state = (state ^ _shifted(state, shift)) * factor
    return state ^ _shifted(state, 31)


def _shifted(state: Int[Tensor, "..."], by: int) -> Int[Tensor, "..."]:
    """A shift to the right that moves zeros in, also into negative numbers."""
    return (state >> by) & ((1 << (64 - by)) - 1)
