"""The rows every unit is strongest in, each once, with the activations around the place, while the data stream by.

As in `topk`, a candidate is one 64-bit key, here of a row's peak: its largest valid activation, at the first token that
has it. A unit's bar is its k-th best key; only rows whose peak passes it are looked into. A limit per document makes
what may be chosen a partition matroid, so keeping the best choice of what was kept and what comes is exact (Edmonds
1971), and so is merging two choices.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
import xxhash
from jaxtyping import Bool, Float, Int
from torch import Tensor

from actkit.harvest.reducing import CHUNK, Folding, HarvestError, OnItsWay, Rest, Seen, Spot, State
from actkit.harvest.rows import Block
from actkit.harvest.topk import NOTHING, SIGNS, Pole, packed, unpacked


class Slots(NamedTuple):
    """Which of a batch's real tokens may be a peak: a row's valid ones, its last repeated; rows without any left out.

    `first`: number of each row's first token, counted through all rows; `start`: where it lies among the batch's real
    tokens; `whole`: the grid is all of these, in order.
    """

    grid: Int[Tensor, "B v"]
    first: Int[Tensor, " B"]
    length: Int[Tensor, " B"]
    start: Int[Tensor, " B"]
    whole: bool

    def to(self, device: torch.device, non_blocking: bool = False) -> "Slots":
        """The same on another device."""
        grid, first, length, start = (x.to(device, non_blocking=non_blocking) for x in self[:4])
        return Slots(grid, first, length, start, self.whole)


def window_start(position: Tensor, length: Tensor, window: int) -> Tensor:
    """Where a window around a position of a row begins: three quarters of it before, and inside the row if it fits."""
    return (position - window * 3 // 4).clamp(min=0).minimum((length - window).clamp(min=0))


@dataclass(frozen=True, eq=False)
class TopRows(Folding):
    """The `k` rows each unit has its highest ("+") or lowest ("-") peaks in, or both; no row twice.

    `window`: activations kept around each peak, see `window_start`. `valid` [tokens of all data]: which tokens may be a
    peak; None = all. `documents` [documents]: the number of each document's first token, ascending; at most
    `per_document` peaks of one are kept. `dtype`: what windows are stored as.

    Equal values: the earlier row, then the earlier position first. Exact: the same bits from equal activations,
    whatever the batches and processes. Result, strongest first, of shape [units, k], or [2, units, k] with `poles`
    "both" ("+" first): `values` (float32), `rows`, `positions`, NaN and -1 where there are fewer; `around`
    [..., k, window], NaN beyond the row.
    """

    k: int = 20
    poles: Pole = "both"
    window: int = 64
    valid: Bool[Tensor, " tokens"] | None = None
    documents: Int[Tensor, " documents"] | None = None
    per_document: int = 1
    dtype: torch.dtype = torch.float32
    name: ClassVar[str] = "toprows"
    exact: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if min(self.k, self.window, self.per_document) < 1 or self.poles not in SIGNS:
            raise HarvestError(
                f"TopRows(k={self.k}, poles={self.poles!r}, window={self.window}, per_document={self.per_document}): "
                "poles must be '+', '-' or 'both', the others at least 1."
            )

    def settings(self) -> dict[str, Any]:
        """Tensors by the digest of their content."""
        numbers = {"k": self.k, "poles": self.poles, "window": self.window, "dtype": str(self.dtype)[6:]}
        digests = {"valid": _digest(self.valid), "documents": _digest(self.documents)}
        return {**numbers, **digests, "per_document": None if self.documents is None else self.per_document}

    def init(self, units: int, device: torch.device) -> State:
        """No row seen."""
        shape = (len(SIGNS[self.poles]), units, self.k)
        return {
            "keys": torch.full(shape, NOTHING, dtype=torch.int64, device=device),
            "around": torch.full((*shape, self.window), torch.nan, dtype=self.dtype, device=device),
        }

    def update(self, state: State, seen: Seen) -> Rest:
        """Offer a batch's rows."""
        slots: Slots = seen.block.on(seen.x.device, id(self), lambda: _valid_slots(seen.block, self.valid))
        if not len(slots.grid):
            return lambda: None
        peaked = seen.x if slots.whole else seen.x.index_select(0, slots.grid.flatten())
        batch = _Rows(seen.x, peaked.view(*slots.grid.shape, -1), slots)
        each = zip(state["keys"], state["around"], SIGNS[self.poles], strict=True)
        rests = [self._offer(keys, around, batch, sign) for keys, around, sign in each]

        def rest() -> None:
            for each in rests:
                each()

        return rest

    def _offer(self, keys: Int[Tensor, "U k"], around: Float[Tensor, "U k W"], batch: "_Rows", sign: int) -> Rest:
        peaks = batch.peaked.amax(1) if sign > 0 else -batch.peaked.amin(1)
        # A row's peak at its very first token would make the largest key it can have.
        hit = packed(peaks, batch.slots.first[:, None]) > keys[:, -1]
        count = OnItsWay(hit.sum())

        def rest() -> None:
            hits = int(count.get())
            found = torch.nonzero_static(hit, size=hits)
            for part in found.split(max(1, CHUNK // batch.peaked.shape[1])) if hits else ():
                self._insert(keys, around, batch, sign, *part.T)

        return rest

    def _insert(
        self, keys: Tensor, around: Tensor, batch: "_Rows", sign: int, row: Int[Tensor, " m"], unit: Int[Tensor, " m"]
    ) -> None:
        """Let the peaks of these rows in these units compete with the units' best."""
        position, key = batch.peak(row, unit, sign)
        windows = batch.windows(row, unit, position, self.window).to(self.dtype)
        # On CUDA all units are merged: to ask which ones are touched would make the device wait.
        touched = torch.arange(len(keys), device=keys.device) if keys.is_cuda else unit.unique()
        place = torch.full((len(keys),), -1, device=keys.device).index_put((touched,), _count(touched))
        entry = torch.full((len(touched), len(batch.slots.first)), -1, device=keys.device)
        entry[place[unit], row] = _count(unit)
        new = torch.where(entry < 0, NOTHING, key[entry])
        best, chosen = self._best(torch.cat([keys[touched], new], dim=1))
        old = around[touched].gather(1, chosen.clamp(max=self.k - 1)[..., None].expand(-1, -1, self.window))
        fresh = windows[entry.gather(1, (chosen - self.k).clamp(min=0))]
        keys[touched] = best
        around[touched] = torch.where((chosen < self.k)[..., None], old, fresh)

    def _best(self, keys: Int[Tensor, "U n"]) -> tuple[Int[Tensor, "U k"], Int[Tensor, "U k"]]:
        """The k best keys that the limit per document allows, and where they stood."""
        if self.documents is None:
            return keys.topk(self.k, dim=1)
        ordered, order = keys.sort(dim=1, descending=True)
        _, token = unpacked(ordered)
        document = torch.searchsorted(self.documents.to(keys.device), token.contiguous(), right=True)
        ordered = ordered.masked_fill(_rank_among_equals(document) >= self.per_document, NOTHING)
        best, chosen = ordered.topk(self.k, dim=1)
        return best, order.gather(1, chosen)

    def merge(self, state: State, later: State) -> None:
        """The best of both."""
        for sign in range(len(state["keys"])):
            best, chosen = self._best(torch.cat([state["keys"][sign], later["keys"][sign]], dim=1))
            both = torch.cat([state["around"][sign], later["around"][sign]], dim=1)
            state["keys"][sign] = best
            state["around"][sign] = both.gather(1, chosen[..., None].expand(-1, -1, self.window))

    def finish(self, state: State) -> dict[str, Tensor]:
        """Values and token numbers, out of the keys, and the windows."""
        values, tokens = unpacked(state["keys"])
        signs = torch.tensor(SIGNS[self.poles], dtype=torch.float32, device=values.device)
        around = state["around"].masked_fill(tokens[..., None] < 0, torch.nan)
        found = {"values": values * signs[:, None, None], "tokens": tokens, "around": around}
        return found if self.poles == "both" else {name: x[0] for name, x in found.items()}

    def result_bytes(self, units: int) -> int:
        """Value, row, position and window of every entry."""
        return (16 + self.window * self.dtype.itemsize) * units * self.k * len(SIGNS[self.poles])

    def work_bytes(self, spot: Spot, tokens: int) -> int:
        """The valid activations, the rows' peaks as keys, and what is looked into at once."""
        copies = tokens * spot.units * spot.dtype.itemsize
        merged = spot.units * self.k * (32 + 3 * self.window * self.dtype.itemsize)
        return copies + merged + 24 * CHUNK


class _Rows(NamedTuple):
    """A batch's rows at one site. `peaked`: the activations that may be a peak, each row's, in order."""

    x: Float[Tensor, "n U"]
    peaked: Float[Tensor, "B v U"]
    slots: Slots

    def peak(self, row: Tensor, unit: Tensor, sign: int) -> tuple[Int[Tensor, " m"], Int[Tensor, " m"]]:
        """Position in its row, and key, of the largest `sign * x`."""
        values = self.peaked[row, :, unit] * sign
        # The first of equal ones: of argmax that is not promised, of a maximum over countdowns it is.
        best = values.amax(1, keepdim=True)
        countdown = torch.arange(values.shape[1], 0, -1, device=values.device)
        at = values.shape[1] - torch.where(values == best, countdown, 0).amax(1)
        position = self.slots.grid[row, at] - self.slots.start[row]
        return position, packed(best[:, 0], self.slots.first[row] + position)

    def windows(self, row: Tensor, unit: Tensor, position: Tensor, window: int) -> Float[Tensor, "m W"]:
        """The activations around positions; NaN beyond the row."""
        length = self.slots.length[row]
        at = window_start(position, length, window)[:, None] + torch.arange(window, device=row.device)
        inside = at < length[:, None]
        found = self.x[self.slots.start[row][:, None] + torch.where(inside, at, 0), unit[:, None]]
        return torch.where(inside, found, torch.nan)


def _valid_slots(block: Block, valid: Bool[Tensor, " tokens"] | None) -> Slots:
    lengths = block.mask.sum(1)
    start = lengths.cumsum(0) - lengths
    tokens = block.tokens(torch.device("cpu"))
    may = torch.ones(len(tokens), dtype=torch.bool) if valid is None else valid[tokens]
    rows = [(at + may[at : at + n].nonzero()[:, 0]) for at, n in zip(start.tolist(), lengths.tolist(), strict=True)]
    kept = [number for number, slots in enumerate(rows) if len(slots)]
    longest = max((len(rows[number]) for number in kept), default=0)
    # To repeat a short row's last valid token changes neither its peak nor the first token that has it.
    padded = [torch.cat([rows[i], rows[i][-1:].expand(longest - len(rows[i]))]) for i in kept]
    grid = torch.stack(padded) if kept else torch.zeros(0, 0, dtype=torch.long)
    whole = grid.numel() == len(tokens) and bool((grid.flatten() == torch.arange(len(tokens))).all())
    return Slots(grid, block.starts[kept], lengths[kept], start[kept], whole)


def _count(x: Tensor) -> Int[Tensor, " n"]:
    return torch.arange(len(x), device=x.device)


def _rank_among_equals(x: Int[Tensor, "U n"]) -> Int[Tensor, "U n"]:
    """How many entries before it in its line are equal to each entry."""
    ordered, order = x.sort(dim=1, stable=True)
    place = torch.arange(x.shape[1], device=x.device).expand_as(x)
    begins = torch.ones_like(x, dtype=torch.bool)
    begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    rank = place - torch.where(begins, place, 0).cummax(dim=1).values
    return torch.empty_like(rank).scatter_(1, order, rank)


def _digest(x: Tensor | None) -> str | None:
    return None if x is None else xxhash.xxh3_128_hexdigest(x.cpu().contiguous().view(torch.uint8).numpy().tobytes())
