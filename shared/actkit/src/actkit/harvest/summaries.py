"""Reducers that sum up how every unit behaves over a data set: mean, moments, histogram."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from actkit.harvest.reducing import Folding, HarvestError, Seen, Spot, State, digest, slice_bytes, slices, wide

POWERS = tuple(sign * 2.0**power for sign, powers in ((-1, range(8, -9, -1)), (1, range(-8, 9))) for power in powers)
"""Edges at every power of two from 1/256 to 256, of both signs."""


@dataclass(frozen=True, eq=False)
class Mean(Folding):
    """Mean of every unit over all tokens, in float64. Result: `count` [], `mean` [units].

    `valid` [tokens of all data]: which tokens count; None = all.

    Blocks are merged by their deviations (Chan, Golub & LeVeque 1979, equation 2.1), so that nothing cancels. The
    order of merging depends on the data and `shard_tokens` alone: the number of processes and interruptions change no
    bit; another batch size changes about 1e-15 of the values' size.
    """

    valid: Bool[Tensor, " tokens"] | None = None
    name: ClassVar[str] = "mean"
    exact: ClassVar[bool] = False

    def settings(self) -> dict[str, Any]:
        """A tensor by the digest of its content."""
        return {} if self.valid is None else {"valid": digest(self.valid)}

    def init(self, units: int, device: torch.device) -> State:
        """Count and mean of nothing."""
        return {
            "count": torch.zeros((), dtype=torch.int64),
            "mean": torch.zeros(units, dtype=wide(device), device=device),
        }

    def update(self, state: State, seen: Seen) -> None:
        """Take a batch in."""
        inside = self._inside(seen)
        if seen.x.numel() and (inside is None or len(inside)):
            self.merge(state, self._of(seen.x, inside))

    def _inside(self, seen: Seen) -> Int[Tensor, " m"] | None:
        """Which of a batch's tokens count; None = all."""
        if self.valid is None:
            return None
        valid = self.valid
        inside = seen.block.on(seen.x.device, id(self), lambda: valid[seen.tokens.cpu()].nonzero()[:, 0])
        return None if len(inside) == len(seen.x) else inside

    def _of(self, x: Float[Tensor, "n U"], inside: Int[Tensor, " m"] | None) -> State:
        parts = [part.to(wide(x.device)).sum(0) for part in slices(x, inside)]
        count = len(x) if inside is None else len(inside)
        return {"count": torch.tensor(count), "mean": torch.stack(parts).sum(0) / count}

    def merge(self, state: State, later: State) -> None:
        """Shift the mean by the later tokens' share of the difference."""
        share = int(later["count"]) / int(state["count"] + later["count"])
        state["mean"] += (later["mean"] - state["mean"]) * share
        state["count"] += later["count"]

    def finish(self, state: State) -> dict[str, Tensor]:
        """Count and mean."""
        return dict(state)

    def result_bytes(self, units: int) -> int:
        """One float64 per unit."""
        return 8 * units

    def work_bytes(self, spot: Spot, tokens: int) -> int:
        """A wide copy of a group of tokens."""
        return slice_bytes(spot, tokens)


@dataclass(frozen=True, eq=False)
class Moments(Mean):
    """Mean, variance and range of every unit, in float64; see `Mean` for `valid` and how exact.

    Result: `count` [], `mean`, `variance` (over the tokens, not an estimate: divided by count), `min`, `max` [units].
    """

    name: ClassVar[str] = "moments"

    def init(self, units: int, device: torch.device) -> State:
        """Moments of nothing."""
        zeros = super().init(units, device)
        high = torch.full_like(zeros["mean"], torch.inf)
        return {**zeros, "m2": torch.zeros_like(high), "min": high, "max": -high}

    def _of(self, x: Float[Tensor, "n U"], inside: Int[Tensor, " m"] | None) -> State:
        """One way through the tokens: sums of what is left beyond the first group's mean, so that nothing cancels."""
        first = next(iter(slices(x, inside)))
        shift = first.to(wide(x.device)).mean(0)
        found: list[tuple[Tensor, ...]] = []
        for part in slices(x, inside):
            left = part.to(wide(x.device), copy=True).sub_(shift)
            # aminmax along the first dimension is many times slower on the CPU than these two.
            found.append((left.sum(0), left.square_().sum(0), part.amin(0), part.amax(0)))
        sums, squares, low, high = (torch.stack(each) for each in zip(*found, strict=True))
        total, count = sums.sum(0), len(x) if inside is None else len(inside)
        mean, m2 = shift + total / count, squares.sum(0) - total.square() / count
        ends = {"min": low.amin(0).to(mean.dtype), "max": high.amax(0).to(mean.dtype)}
        return {"count": torch.tensor(count), "mean": mean, "m2": m2.clamp_(min=0), **ends}

    def merge(self, state: State, later: State) -> None:
        """Add up squared deviations, each from its own mean, and what the means' difference adds."""
        a, b = int(state["count"]), int(later["count"])
        state["m2"] += later["m2"] + (later["mean"] - state["mean"]).square() * (a * b / (a + b))
        torch.minimum(state["min"], later["min"], out=state["min"])
        torch.maximum(state["max"], later["max"], out=state["max"])
        super().merge(state, later)

    def finish(self, state: State) -> dict[str, Tensor]:
        """Squared deviations become the variance."""
        found = dict(state)
        variance = found.pop("m2") / found["count"]
        return {**found, "variance": variance}

    def result_bytes(self, units: int) -> int:
        """Four float64 per unit."""
        return 32 * units

    def work_bytes(self, spot: Spot, tokens: int) -> int:
        """A wide copy of a group of tokens, and its deviations."""
        return 2 * slice_bytes(spot, tokens)


@dataclass(frozen=True)
class Histogram(Folding):
    """How often every unit's activation fell between two edges, the same edges for all units; exact.

    Result: `counts` [units, E + 1] for E ascending edges: below the first, from each edge (included) to the next
    (excluded), and from the last one up; `edges` [E]. Raises HarvestError for edges that do not ascend.
    """

    edges: tuple[float, ...] = POWERS
    name: ClassVar[str] = "histogram"
    exact: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "edges", tuple(float(edge) for edge in self.edges))
        if not self.edges or any(not a < b for a, b in zip(self.edges, self.edges[1:], strict=False)):
            raise HarvestError(
                "A histogram's edges must ascend.", "Histogram.uniform(low, high, bins) makes even ones."
            )

    @classmethod
    def uniform(cls, low: float, high: float, bins: int) -> "Histogram":
        """`bins` bins of one width between `low` and `high`."""
        return cls(tuple(torch.linspace(low, high, bins + 1, dtype=torch.float64).tolist()))

    def init(self, units: int, device: torch.device) -> State:
        """All counts 0."""
        return {"counts": torch.zeros(units, len(self.edges) + 1, dtype=torch.int64, device=device)}

    def update(self, state: State, seen: Seen) -> None:
        """Count a batch, group of tokens by group."""
        counts = state["counts"]
        edges = torch.tensor(self.edges, dtype=wide(counts.device), device=counts.device)
        first = torch.arange(len(counts), device=counts.device) * counts.shape[1]
        one = torch.ones((), dtype=torch.int64, device=counts.device)
        for part in slices(seen.x):
            bins = torch.bucketize(part.to(edges.dtype), edges, right=True).add_(first).flatten()
            counts.view(-1).scatter_add_(0, bins, one.expand(len(bins)))

    def merge(self, state: State, later: State) -> None:
        """Add up."""
        state["counts"] += later["counts"]

    def finish(self, state: State) -> dict[str, Tensor]:
        """Counts and the edges between them."""
        return {**state, "edges": torch.tensor(self.edges, dtype=torch.float64)}

    def result_bytes(self, units: int) -> int:
        """An int64 per unit and bin."""
        return 8 * (units * (len(self.edges) + 1) + len(self.edges))

    def work_bytes(self, spot: Spot, tokens: int) -> int:
        """A wide copy of a group of tokens, and its bins."""
        return 2 * slice_bytes(spot, tokens)
