"""The rows every unit is strongest in, each once, with the activations around the place, while the data stream by.

As in `topk`, a candidate is one 64-bit key, here of a row's peak: its largest valid activation, at the first token that
has it. A unit's bar is its k-th best key; only rows whose peak passes it are looked into. A limit per document makes
what may be chosen a partition matroid, so keeping the best choice of what was kept and what comes is exact (Edmonds
1971), and so is merging two choices.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from actkit.harvest.peaks import AllRows, RowByRow, Slots, lines, slots, window_start
from actkit.harvest.reducing import CHUNK, Folding, HarvestError, OnItsWay, Rest, Seen, Spot, State, digest
from actkit.harvest.topk import NOTHING, SIGNS, Pole, packed, unpacked

__all__ = ["TopRows", "window_start"]

_MANY = 16  # a share of all rows and units


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
        if seen.x.device.type != "cpu":
            return self._queue(state, seen)
        found = seen.block.on(seen.x.device, id(self), lambda: lines(seen.block, self.valid))
        rows, signs = RowByRow(seen.x, found), SIGNS[self.poles]
        for keys, around, peaks, sign in zip(state["keys"], state["around"], rows.peaks(signs), signs, strict=True):
            self._take(keys, around, rows, peaks, sign)
        return _nothing_left

    def _take(
        self,
        keys: Int[Tensor, "U k"],
        around: Float[Tensor, "U k W"],
        rows: RowByRow,
        peaks: Float[Tensor, "B U"],
        sign: int,
    ) -> None:
        """On the CPU: only what is replaced is written, and only windows that stay are looked up."""
        # A row's peak at its very first token would make the largest key it can have.
        row, unit = (packed(peaks, rows.lines.first[:, None]) > keys.amin(1)).nonzero().T.contiguous()
        if not len(row):
            return
        value = peaks[row, unit]
        position = rows.positions(row, unit, value * sign)
        key = packed(value, rows.lines.first[row] + position)
        touched = unit.unique()
        new, entry = _beside(touched, len(keys), len(peaks), unit, row, key)
        which, at = self._exchange(keys, touched, new, entry)
        for part, windows in rows.windows(row[which], unit[which], position[which], self.window):
            around.view(-1, self.window)[at[part]] = windows.to(self.dtype)

    def _exchange(
        self,
        keys: Int[Tensor, "U k"],
        touched: Int[Tensor, " t"],
        new: Int[Tensor, "t B"],
        entry: Int[Tensor, "t B"],
    ) -> tuple[Int[Tensor, " f"], Int[Tensor, " f"]]:
        """Put the new keys that are good enough where those are that no longer are.

        Returns their entries, ascending, and the places they took in the flattened [U * k].
        """
        best, chosen = self._best(torch.cat([keys[touched], new], dim=1))
        stays = (chosen < self.k) & (best > NOTHING)
        kept = torch.zeros(len(touched), self.k + 1, dtype=torch.bool).scatter_(1, chosen.where(stays, self.k), True)
        free, slot = (~kept[:, :-1]).nonzero().T
        at, came = touched[free] * self.k + slot, best[~stays]
        keys.view(-1)[at] = came
        which = entry.gather(1, (chosen - self.k).clamp_(min=0))[~stays]
        which, order = which[came > NOTHING].sort()
        return which, at[came > NOTHING][order]

    def _queue(self, state: State, seen: Seen) -> Rest:
        """On an accelerator: what has to wait for it is left for later."""
        where: Slots = seen.block.on(seen.x.device, id(self), lambda: slots(seen.block, self.valid))
        if not len(where.first):
            return _nothing_left
        peaked = seen.x if where.whole else seen.x.index_select(0, where.valid.flatten())
        batch = AllRows(seen.x, peaked.view(*where.valid.shape, -1), where)
        each = zip(state["keys"], state["around"], SIGNS[self.poles], strict=True)
        rests = [self._offer(keys, around, batch, sign) for keys, around, sign in each]

        def rest() -> None:
            for each in rests:
                each()

        return rest

    def _offer(self, keys: Int[Tensor, "U k"], around: Float[Tensor, "U k W"], batch: AllRows, sign: int) -> Rest:
        peaks = batch.peaked.amax(1) if sign > 0 else -batch.peaked.amin(1)
        hit = packed(peaks, batch.slots.first[:, None]) > keys.amin(1)
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
        batch: AllRows,
        sign: int,
        row: Int[Tensor, " m"],
        unit: Int[Tensor, " m"],
        *,
        many: bool,
    ) -> None:
        """Let the peaks of these rows in these units compete with the units' best.

        All units are merged: to ask which ones are touched would make the device wait.
        """
        values = batch.values(row, unit, many=many)
        position, key = batch.peaks(values * sign, row)
        windows = batch.windows(values, row, position, self.window).to(self.dtype)
        new, entry = _beside(_count(keys), len(keys), len(batch.slots.first), unit, row, key)
        best, chosen = self._best(torch.cat([keys, new], dim=1))
        old = around.gather(1, chosen.clamp(max=self.k - 1)[..., None].expand(-1, -1, self.window))
        fresh = windows[entry.gather(1, (chosen - self.k).clamp(min=0))]
        keys.copy_(best)
        around.copy_(torch.where((chosen < self.k)[..., None], old, fresh))

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
        keys, order = state["keys"].sort(dim=-1, descending=True)
        values, tokens = unpacked(keys)
        signs = torch.tensor(SIGNS[self.poles], dtype=torch.float32, device=values.device)
        around = state["around"].gather(-2, order[..., None].expand_as(state["around"]))
        around.masked_fill_(tokens[..., None] < 0, torch.nan)
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


def _beside(
    touched: Int[Tensor, " t"],
    units: int,
    rows: int,
    unit: Int[Tensor, " m"],
    row: Int[Tensor, " m"],
    key: Int[Tensor, " m"],
) -> tuple[Int[Tensor, "t B"], Int[Tensor, "t B"]]:
    """Keys of the units touched, row by row, and which of the m each is; NOTHING and -1 where there is none."""
    place = torch.full((units,), -1, device=key.device).index_put((touched,), _count(touched))
    entry = torch.full((len(touched), rows), -1, device=key.device)
    entry[place[unit], row] = _count(unit)
    return torch.where(entry < 0, NOTHING, key[entry]), entry


def _nothing_left() -> None:
    pass


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
