"""The rows every unit is strongest in, each once, with the activations around the place, while the data stream by.

As in `topk`, a candidate is one 64-bit key, here of a row's peak: its largest valid activation, at the first token that
has it. A unit's bar is its k-th best key; only rows whose peak passes it are looked into. A limit per document makes
what may be chosen a partition matroid, so keeping the best choice of what was kept and what comes is exact (Edmonds
1971), and so is merging two choices.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from actkit.harvest.reducing import CHUNK, Folding, HarvestError, OnItsWay, Rest, Seen, Spot, State, digest
from actkit.harvest.rows import Block
from actkit.harvest.topk import NOTHING, SIGNS, Pole, packed, unpacked

_MANY = 16  # a share of all rows and units


class Slots(NamedTuple):
    """Where a batch's rows lie among its real tokens; rows without any valid token left out.

    `valid` [B, v]: the slots that may be a peak; `every` [B, T]: all of a row's. A short row's last one is repeated.
    `may` [B, T]: which of `every` are valid. `first`: number of each row's first token, counted through all rows.
    `plain`: `every` is all real tokens in order; `whole`: `valid` is too.
    """

    valid: Int[Tensor, "B v"]
    every: Int[Tensor, "B T"]
    may: Bool[Tensor, "B T"]
    first: Int[Tensor, " B"]
    length: Int[Tensor, " B"]
    plain: bool
    whole: bool

    def to(self, device: torch.device, non_blocking: bool = False) -> "Slots":
        """The same on another device."""
        valid, every, may, first, length = (x.to(device, non_blocking=non_blocking) for x in self[:5])
        return Slots(valid, every, may, first, length, self.plain, self.whole)


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
        given = {"valid": self.valid, "documents": self.documents}
        numbers = {"k": self.k, "poles": self.poles, "window": self.window, "dtype": str(self.dtype)[6:]}
        digests = {name: x if x is None else digest(x) for name, x in given.items()}
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
        if not len(slots.first):
            return lambda: None
        peaked = seen.x if slots.whole else seen.x.index_select(0, slots.valid.flatten())
        batch = _Rows(seen.x, peaked.view(*slots.valid.shape, -1), slots)
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
            many = hits > hit.numel() // _MANY
            for part in found.split(max(1, CHUNK // batch.slots.every.shape[1])) if hits else ():
                self._insert(keys, around, batch, sign, *part.T, many=many)

        return rest

    def _insert(
        self,
        keys: Int[Tensor, "U k"],
        around: Float[Tensor, "U k W"],
        batch: "_Rows",
        sign: int,
        row: Int[Tensor, " m"],
        unit: Int[Tensor, " m"],
        *,
        many: bool,
    ) -> None:
        """Let the peaks of these rows in these units compete with the units' best."""
        values = batch.values(row, unit, many=many)
        position, key = batch.peaks(values * sign, row)
        windows = batch.windows(values, row, position, self.window).to(self.dtype)
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


class _Rows:
    """A batch's rows at one site. `peaked` [B, v, U]: the activations that may be a peak."""

    def __init__(self, x: Float[Tensor, "n U"], peaked: Float[Tensor, "B v U"], slots: Slots) -> None:
        self.x, self.peaked, self.slots = x, peaked, slots

    def values(self, row: Int[Tensor, " m"], unit: Int[Tensor, " m"], *, many: bool) -> Float[Tensor, "m T"]:
        """All activations of a row in a unit. Of many it pays to bring each row's together in memory first."""
        return self._turned[row, unit] if many else self._rows[row, :, unit]

    @cached_property
    def _rows(self) -> Float[Tensor, "B T U"]:
        every = self.slots.every
        return (self.x if self.slots.plain else self.x.index_select(0, every.flatten())).view(*every.shape, -1)

    @cached_property
    def _turned(self) -> Float[Tensor, "B U T"]:
        return self._rows.transpose(1, 2).contiguous()

    def peaks(
        self, values: Float[Tensor, "m T"], row: Int[Tensor, " m"]
    ) -> tuple[Int[Tensor, " m"], Int[Tensor, " m"]]:
        """Position and key of the largest valid value; of equal ones the first."""
        values = values.masked_fill(~self.slots.may[row], -torch.inf)
        best = values.amax(1, keepdim=True)
        # Which of equal ones argmax gives is not promised; of a maximum over countdowns it is.
        length = values.shape[1]
        countdown = torch.arange(length, 0, -1, dtype=torch.int32, device=values.device)
        position = length - torch.where(values == best, countdown, 0).amax(1).long()
        return position, packed(best[:, 0], self.slots.first[row] + position)

    def windows(
        self, values: Float[Tensor, "m T"], row: Int[Tensor, " m"], position: Int[Tensor, " m"], window: int
    ) -> Float[Tensor, "m W"]:
        """The activations around positions; NaN beyond the row."""
        length = self.slots.length[row]
        at = window_start(position, length, window)[:, None] + torch.arange(window, device=row.device)
        inside = at < length[:, None]
        return torch.where(inside, values.gather(1, torch.where(inside, at, 0)), torch.nan)


def _valid_slots(block: Block, valid: Bool[Tensor, " tokens"] | None) -> Slots:
    lengths = block.mask.sum(1).tolist()
    tokens = block.tokens(torch.device("cpu"))
    may = torch.ones(len(tokens), dtype=torch.bool) if valid is None else valid[tokens]
    rows = [
        (number, slots) for number, slots in enumerate(torch.arange(len(tokens)).split(lengths)) if may[slots].any()
    ]
    kept, every = [number for number, _ in rows], [slots for _, slots in rows]
    inside, peaked = _grid(every), _grid([slots[may[slots]] for slots in every])
    length = torch.tensor([len(slots) for slots in every], dtype=torch.long)
    ends = torch.arange(inside.shape[1]) < length[:, None]
    whole = [bool(grid.numel() == len(tokens) and (grid.diff() == 1).all() and ends.all()) for grid in (inside, peaked)]
    return Slots(peaked, inside, may[inside] & ends, block.starts[kept], length, *whole)


def _grid(rows: list[Int[Tensor, " _"]]) -> Int[Tensor, "B longest"]:
    """Rows side by side, a short one's last repeated: that changes neither its peak nor the first slot that has it."""
    longest = max(map(len, rows), default=0)
    padded = [torch.cat([row, row[-1:].expand(longest - len(row))]) for row in rows]
    return torch.stack(padded) if rows else torch.zeros(0, 0, dtype=torch.long)


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
