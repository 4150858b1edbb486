"""What a harvest will take, known before it starts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from actkit.batch import buckets, pad_rows
from actkit.harvest.features import Source
from actkit.harvest.folds import most_states
from actkit.harvest.reducing import Folding, HarvestError, Listing, Reducer, Spot
from actkit.model import Model

_ALIVE = 4
"""Copies of a site's activations: this site's and the one before, each as the model made it and without padding."""


class Need(NamedTuple):
    """Bytes one reducer takes at one site: `state` and `work` on the device, `host` per process, `disk` in the end."""

    site: str
    kind: str
    reducer: str
    device: str
    state: int
    work: int
    host: int
    disk: int


def spots(model: Model, wanted: Sequence[Source], row: list[int]) -> list[Spot]:
    """Shape, dtype and device of each source, found out by running two tokens through the model."""
    batch = pad_rows([(row * 2)[:2]], pad_id=model.pad_id)
    found: dict[str, Spot] = {}

    def look(site: str, x: Tensor) -> None:
        found.update({source.name: _spot(source, x) for source in wanted if source.site == site})

    model.run(batch, capture={each.site for each in wanted}, logits=None, on_capture=look)
    return [found[source.name] for source in wanted]


@torch.no_grad()
def _spot(source: Source, x: Tensor) -> Spot:
    values = x if source.feature is None else source.feature(x.flatten(0, 1))[None]
    return Spot(source.name, source.kind, tuple(values.shape[2:]), values.dtype, values.device, source)


@dataclass(frozen=True)
class Plan:
    """What a harvest will take. `print(plan)` tells it.

    `slots`: the most tokens of one batch, padding included. `captures`: bytes of activations alive at once, by device.
    `device`, `host` (per process), `disk`: the totals.
    """

    rows: int
    tokens: int
    shards: int
    processes: int
    slots: int
    captures: dict[str, int]
    needs: tuple[Need, ...]
    corpus: int

    @property
    def device(self) -> dict[str, int]:
        """Bytes on each device beside the model's own: states, the captures alive, one reducer at work on two sites."""
        totals: dict[str, int] = {}
        for device, captured in self.captures.items():
            here = [need for need in self.needs if need.device == device]
            totals[device] = captured + sum(need.state for need in here) + 2 * max(need.work for need in here)
        return totals

    @property
    def host(self) -> int:
        """Bytes in memory: one shard's lists of all sites, and two copies of the largest while it is put in order; or,
        when the first process merges at the end, the states of all processes."""
        lists = sum(need.host for need in self.needs) + 2 * max(need.host for need in self.needs)
        return max(lists, self.processes * sum(need.state for need in self.needs))

    @property
    def disk(self) -> int:
        """Bytes of the finished store."""
        return self.corpus + sum(need.disk for need in self.needs)

    def check(self, limit: int | None, free: int) -> None:
        """Raise HarvestError for a plan over the limit, on a device or the host, or over the disk's free bytes."""
        taken = {**self.device, "host": self.host}
        if "cpu" in taken:
            taken["cpu"] += taken.pop("host")
        over = {where: size for where, size in taken.items() if limit is not None and size > limit}
        if over:
            where, size = max(over.items(), key=lambda item: item[1])
            raise HarvestError(
                f"This harvest would take {amount(size)} on {where}; memory_limit is {amount(limit or 0)}.\n{self}",
                "Take a smaller batch_size (captures), shard_tokens (host) or k, or fewer sites at a time.",
            )
        if self.disk > free:
            raise HarvestError(
                f"The store would take {amount(self.disk)} on disk; {amount(free)} are free.\n{self}",
                "Keep fewer tokens or sites, or a narrower dtype.",
            )

    def __str__(self) -> str:
        lines = [
            f"Harvest of {self.tokens:,} tokens in {self.rows:,} rows: {self.shards} shard(s), "
            f"{self.processes} process(es), at most {self.slots:,} tokens a batch.",
            f"{'site':<34}{'reducer':<11}{'device':<9}{'state':>11}{'work':>11}{'disk':>11}",
        ]
        alike: dict[tuple[str, str, str], list[Need]] = {}
        for need in self.needs:
            alike.setdefault((need.kind, need.reducer, need.device), []).append(need)
        lines += [_line(needs, *key) for key, needs in alike.items()]
        totals = ", ".join(f"{device} {amount(size)}" for device, size in self.device.items())
        captured = ", ".join(f"{device} {amount(size)}" for device, size in self.captures.items())
        lines.append(f"activations alive at once: {captured}")
        lines.append(f"in all, beside the model: {totals}; host {amount(self.host)}; disk {amount(self.disk)}")
        return "\n".join(lines)


def _line(needs: list[Need], kind: str, reducer: str, device: str) -> str:
    first, last = needs[0].site, needs[-1].site.removeprefix(f"{kind}.")
    name = first if len(needs) == 1 else f"{first} … {last} ({len(needs)} sites)"
    sums = (sum(n.state for n in needs), max(n.work for n in needs), sum(n.disk for n in needs))
    return f"{name:<34}{reducer:<11}{device:<9}" + "".join(f"{amount(size):>11}" for size in sums)


def amount(size: int) -> str:
    """Bytes in decimal units, as a person reads them."""
    units = ("B", "kB", "MB", "GB", "TB")
    power = min(len(units) - 1, (len(str(size)) - 1) // 3)
    return f"{size / 1000**power:.3g} {units[power]}"


def planned(
    where: Sequence[Spot],
    reducers: Sequence[Reducer],
    lengths: Sequence[Int[Tensor, " rows"]],
    *,
    batch_size: int,
    processes: int,
) -> Plan:
    """The plan for rows of these lengths, one tensor per shard."""
    slots = max(_most_slots(shard.tolist(), batch_size) for shard in lengths)
    needs = [_need(spot, reducer, lengths, slots) for reducer in reducers for spot in where]
    alive: dict[str, int] = {}
    for spot in where:
        size = _ALIVE * slots * spot.units * spot.dtype.itemsize
        alive[str(spot.device)] = max(size, alive.get(str(spot.device), 0))
    rows, tokens = sum(map(len, lengths)), int(sum(int(shard.sum()) for shard in lengths))
    return Plan(rows, tokens, len(lengths), processes, slots, alive, tuple(needs), 4 * (rows + tokens))


def _most_slots(lengths: list[int], batch_size: int) -> int:
    return max(len(group) * max(lengths[i] for i in group) for group in buckets(lengths, batch_size))


def _need(spot: Spot, reducer: Reducer, lengths: Iterable[Int[Tensor, " rows"]], slots: int) -> Need:
    shards = list(lengths)
    work = reducer.work_bytes(spot, slots)
    state = host = disk = 0
    if isinstance(reducer, Folding):
        state = reducer.state_bytes(spot.units) * most_states(reducer, len(shards))
        disk = reducer.result_bytes(spot.units)
    elif isinstance(reducer, Listing):
        entries = [reducer.most(shard, spot) * reducer.entry_bytes(spot) for shard in shards]
        host, disk = max(entries), sum(entries)
    return Need(spot.name, spot.kind, reducer.name, str(spot.device), state, work, host, disk)
