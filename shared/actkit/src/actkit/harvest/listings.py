"""Reducers that list entries in the order of their tokens: keep, sparse."""

import math
import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Int
from torch import Tensor

from actkit.harvest.reducing import HarvestError, Listing, Seen, Spot
from actkit.harvest.rows import chosen
from actkit.harvest.topk import packed

_PLACE = 12
"""Bytes of an entry's row and position."""


@dataclass(frozen=True)
class Keep(Listing):
    """The activations themselves, of all tokens or those at some positions, in the order of the data; exact.

    `pos`: indices among a row's tokens, negative ones from its end; None = all. A row too short for one has none
    there. `rows`: only of these rows of the data. `dtype`: what they are stored as; None = the model's own. Result:
    `values` [entries, units], `rows`, `positions` [entries].
    """

    pos: int | Iterable[int] | None = None
    dtype: torch.dtype | None = None
    rows: Iterable[int] | None = None
    name: ClassVar[str] = "keep"

    def __post_init__(self) -> None:
        if self.pos is not None:
            object.__setattr__(self, "pos", _indices(self.pos))
        if self.rows is not None:
            object.__setattr__(self, "rows", tuple(sorted(set(_indices(self.rows)))))

    def pick(self, seen: Seen) -> dict[str, Tensor]:
        """The chosen tokens' activations, copied."""
        x, tokens, block = seen
        if isinstance(self.pos, tuple) or isinstance(self.rows, tuple):
            at = block.at(self.pos, self.rows, x.device)  # pyright: ignore[reportArgumentType]
            x, tokens = x[at], tokens[at]
        return {"tokens": tokens, "values": x.to(self.dtype or x.dtype)}

    def most(self, lengths: Int[Tensor, " rows"], spot: Spot) -> int:  # noqa: ARG002
        """The chosen tokens; of chosen rows, as if they were the longest."""
        if isinstance(self.rows, tuple):
            lengths = lengths.sort(descending=True).values[: len(self.rows)]
        return len(chosen(lengths.long(), self.pos)) if isinstance(self.pos, tuple) else int(lengths.sum())

    def entry_bytes(self, spot: Spot) -> int:
        """One value per unit."""
        return spot.units * (self.dtype or spot.dtype).itemsize + _PLACE

    def work_bytes(self, spot: Spot, tokens: int) -> int:
        """A copy of the activations."""
        return tokens * self.entry_bytes(spot)


@dataclass(frozen=True)
class Sparse(Listing):
    """Single activations: all with |a| > `threshold`, or the `top` of largest |a| at every token (lower unit first).

    Exact. `density`: the share of a shard's activations that may exceed the threshold; the plan counts on it, and more
    are an error. Result, by row, position and unit: `rows`, `positions`, `units` (flattened), `values` [entries].
    """

    threshold: float | None = None
    top: int | None = None
    density: float = 0.05
    name: ClassVar[str] = "sparse"

    def __post_init__(self) -> None:
        if (self.threshold is None) == (self.top is None):
            raise HarvestError("Sparse takes either a threshold or a top.", "Sparse(threshold=0.1) or Sparse(top=8).")
        if (self.threshold or 0) < 0 or (self.top is not None and self.top < 1) or not 0 < self.density <= 1:
            raise HarvestError(f"{self}: threshold must be 0 or more, top 1 or more, density above 0 and at most 1.")

    def pick(self, seen: Seen) -> dict[str, Tensor]:
        """The entries, token by token, units ascending."""
        x, tokens, _ = seen
        if self.threshold is not None:
            slot, unit = (x.abs().to(torch.promote_types(x.dtype, torch.float32)) > self.threshold).nonzero().T
        else:
            top = min(self.top or 0, x.shape[1])
            every = torch.arange(x.shape[1], device=x.device)
            unit = packed(x.abs(), every).topk(top, dim=-1).indices.sort(dim=-1).values.flatten()
            slot = torch.arange(len(x), device=x.device).repeat_interleave(top)
        return {"tokens": tokens[slot], "units": unit.int(), "values": x[slot, unit]}

    def most(self, lengths: Int[Tensor, " rows"], spot: Spot) -> int:
        """`top` per token, or the density's share."""
        tokens = int(lengths.sum())
        return tokens * min(self.top, spot.units) if self.top else math.ceil(tokens * spot.units * self.density)

    def entry_bytes(self, spot: Spot) -> int:
        """Place, unit and value."""
        return _PLACE + 4 + spot.dtype.itemsize

    def work_bytes(self, spot: Spot, tokens: int) -> int:
        """Magnitudes and marks, or keys, of the whole batch."""
        return tokens * spot.units * (16 if self.top else 6 + spot.dtype.itemsize)


def _indices(pos: int | Iterable[int]) -> tuple[int, ...]:
    return tuple(map(operator.index, pos)) if isinstance(pos, Iterable) else (operator.index(pos),)
