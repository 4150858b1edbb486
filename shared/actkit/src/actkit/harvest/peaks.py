"""How the rows of a batch are looked at: their peaks, where these stand, and what lies around them.

`RowByRow` for the CPU; `AllRows` for accelerators, where a batch's rows lie side by side in one tensor, and whatever
depends on what was found would make the device wait.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from actkit.harvest.rows import Block
from actkit.harvest.topk import packed


def window_start(position: Tensor, length: Tensor, window: int) -> Tensor:
    """Where a window around a position of a row begins: three quarters of it before, and inside the row if it fits."""
    return (position - window * 3 // 4).clamp(min=0).minimum((length - window).clamp(min=0))


class Line(NamedTuple):
    """A row with valid tokens: `x[begin:end]`. `inside`: which of them are valid; None = all.

    `countdown` [T, 1]: T at the first token, 1 at the last, 0 where it is not valid.
    """

    begin: int
    end: int
    inside: Int[Tensor, " v"] | None
    countdown: Int[Tensor, "T 1"]


class Lines(NamedTuple):
    """The rows of a batch that have valid tokens. `first` [B]: the number of each one's first."""

    each: list[Line]
    first: Int[Tensor, " B"]

    def to(self, device: torch.device, non_blocking: bool = False) -> "Lines":  # noqa: ARG002
        """They stay on the host."""
        return self


class RowByRow:
    """A batch's rows at one site, looked at one after the other: what a CPU's cache holds is soon read again."""

    def __init__(self, x: Float[Tensor, "n U"], lines: Lines) -> None:
        self.x, self.lines = x, lines

    def peaks(self, signs: tuple[int, ...]) -> Float[Tensor, "P B U"]:
        """Each row's largest valid `sign * x`, for every sign."""
        found = self.x.new_empty(len(signs), len(self.lines.each), self.x.shape[1])
        for number, line in enumerate(self.lines.each):
            x = self.x[line.begin : line.end]
            x = x if line.inside is None else x.index_select(0, line.inside)
            for of, sign in zip(found[:, number], signs, strict=True):
                (torch.amax if sign > 0 else torch.amin)(x, 0, out=of)
        for of, sign in zip(found, signs, strict=True):
            of.mul_(sign)
        return found

    def positions(
        self, row: Int[Tensor, " m"], unit: Int[Tensor, " m"], value: Float[Tensor, " m"]
    ) -> Int[Tensor, " m"]:
        """Where in each row, rows ascending, its first valid token of that activation stands."""
        return torch.cat([
            len(x) - torch.where(x == value[part], line.countdown, 0).amax(0).long()
            for line, x, part in self._each(row, unit)
        ])  # fmt: skip

    def windows(
        self, row: Int[Tensor, " m"], unit: Int[Tensor, " m"], position: Int[Tensor, " m"], window: int
    ) -> Iterator[tuple[slice, Float[Tensor, "g W"]]]:
        """The activations around positions, rows ascending; NaN beyond the row. Group by group: which, and theirs."""
        for _, x, part in self._each(row, unit):
            if len(x) <= window:
                around = x.new_full((x.shape[1], window), torch.nan)
                around[:, : len(x)] = x.T
            else:
                start = window_start(position[part], torch.tensor(len(x)), window)
                around = x.T.contiguous().unfold(1, window, 1)[torch.arange(len(start)), start]
            yield part, around

    def _each(
        self, row: Int[Tensor, " m"], unit: Int[Tensor, " m"]
    ) -> Iterator[tuple[Line, Float[Tensor, "T g"], slice]]:
        """Row by row, ascending: its activations in the units asked for, and which these are."""
        end = 0
        for line, count in zip(self.lines.each, row.bincount(minlength=len(self.lines.each)).tolist(), strict=True):
            if count:
                begin, end = end, end + count
                x = self.x[line.begin : line.end].index_select(1, unit[begin:end])
                yield line, x, slice(begin, end)


def lines(block: Block, valid: Bool[Tensor, " tokens"] | None) -> Lines:
    """A batch's rows, those without any valid token left out."""
    ends = block.mask.sum(1).cumsum(0).tolist()
    tokens = block.tokens(torch.device("cpu"))
    each: list[Line] = []
    kept: list[int] = []
    for number, (begin, end) in enumerate(zip([0, *ends], ends, strict=False)):
        may = torch.ones(end - begin, dtype=torch.bool) if valid is None else valid[tokens[begin:end]]
        if may.any():
            inside = None if may.all() else may.nonzero()[:, 0]
            countdown = torch.arange(end - begin, 0, -1, dtype=torch.int32) * may
            each.append(Line(begin, end, inside, countdown[:, None]))
            kept.append(number)
    return Lines(each, block.starts[kept])


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


class AllRows:
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


def slots(block: Block, valid: Bool[Tensor, " tokens"] | None) -> Slots:
    """Where a batch's rows lie."""
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
