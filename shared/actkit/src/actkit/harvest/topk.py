"""The strongest tokens of every unit over a data set, found while it streams by.

A candidate is one 64-bit key: the activation's bits, mapped so that integers order like floats, above the token's
number counted down. Comparing keys compares by value, then by earlier row, then by earlier position. No two keys are
equal, so the k largest do not depend on batches, order or processes.

Almost no activation makes it once some tokens have been seen. So tokens are taken in groups of `_GROUP`; one pass
gives each unit's largest value per group; only groups that could beat the unit's current k-th key are looked into.
How many those are must be known on the host: it is asked for at once and waited for only after the model's next
layers are queued, so that the device does not stand still.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from actkit.harvest.reducing import CHUNK, Folding, HarvestError, OnItsWay, Rest, Seen, Spot, State

Pole = Literal["+", "-", "both"]

SIGNS: dict[str, tuple[int, ...]] = {"+": (1,), "-": (-1,), "both": (1, -1)}
_GROUP = 32
_LOW = (1 << 32) - 1
NOTHING = torch.iinfo(torch.int64).min
MOST_TOKENS = _LOW


@dataclass(frozen=True)
class TopK(Folding):
    """The `k` tokens each unit is strongest at: highest ("+"), lowest ("-"), or both.

    Equal values: the earlier row, then the earlier position first. Exact: the same bits from equal activations,
    whatever the batches and processes. Result, strongest first, of shape [units, k], or [2, units, k] with `poles`
    "both" ("+" first): `values` (float32, to which float64 activations are rounded before they are compared), `rows`,
    `positions`; NaN and -1 where the data have fewer than `k` tokens.
    """

    k: int = 20
    poles: Pole = "+"
    name: ClassVar[str] = "topk"
    exact: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.k < 1 or self.poles not in SIGNS:
            raise HarvestError(
                f"TopK(k={self.k}, poles={self.poles!r}): k must be at least 1, poles '+', '-' or 'both'."
            )

    def init(self, units: int, device: torch.device) -> State:
        """No token seen."""
        shape = (len(SIGNS[self.poles]), units, self.k)
        return {
            "keys": torch.full(shape, NOTHING, dtype=torch.int64, device=device),
            "seen": torch.zeros((), dtype=torch.int64),
        }

    def update(self, state: State, seen: Seen) -> Rest:
        """Offer a batch's tokens: while few have been seen, in parts that double, so that the bar rises quickly."""
        x, tokens, _ = seen
        rest, start = _nothing_left, 0
        while start < len(x):
            rest()
            end = start + max(4 * self.k, int(state["seen"]))
            rest = self._offer(state["keys"], x[start:end], tokens[start:end])
            state["seen"] += len(x[start:end])
            start = end
        return rest

    def _offer(self, keys: Int[Tensor, "P U k"], x: Float[Tensor, "n U"], tokens: Int[Tensor, " n"]) -> Rest:
        rests = [_offer(best, x, tokens, sign) for best, sign in zip(keys, SIGNS[self.poles], strict=True)]

        def rest() -> None:
            for each in rests:
                each()

        return rest

    def merge(self, state: State, later: State) -> None:
        """The best of both."""
        state["keys"].copy_(torch.cat([state["keys"], later["keys"]], dim=-1).topk(self.k, dim=-1).values)
        state["seen"] += later["seen"]

    def finish(self, state: State) -> dict[str, Tensor]:
        """Values and token numbers, out of the keys."""
        values, tokens = unpacked(state["keys"])
        signs = torch.tensor(SIGNS[self.poles], dtype=torch.float32, device=values.device)
        found = {"values": values * signs[:, None, None], "tokens": tokens}
        return found if self.poles == "both" else {name: x[0] for name, x in found.items()}

    def result_bytes(self, units: int) -> int:
        """Value, row and position of every entry."""
        return 16 * units * self.k * len(SIGNS[self.poles])

    def work_bytes(self, spot: Spot, tokens: int) -> int:
        """The groups' largest as keys, and the candidates that are sorted at once."""
        groups = 40 * spot.units * (tokens // _GROUP + 1) * len(SIGNS[self.poles])
        return groups + 64 * min(CHUNK, spot.units * (tokens + _GROUP)) + 32 * spot.units * self.k


def packed(values: Float[Tensor, "*n"], tokens: Int[Tensor, "*n"]) -> Int[Tensor, "*n"]:
    """One key per activation; see the module. -0.0 counts as 0.0."""
    bits = (values.float() + 0.0).view(torch.int32)
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return (ordered.long() << 32) | (_LOW - tokens)


def unpacked(keys: Int[Tensor, "*n"]) -> tuple[Float[Tensor, "*n"], Int[Tensor, "*n"]]:
    """Values in float32 and token numbers; NaN and -1 where there is no token."""
    ordered = (keys >> 32).int()
    values = (ordered ^ ((ordered >> 31) & 0x7FFFFFFF)).view(torch.float32)
    return values, torch.where(keys == NOTHING, -1, _LOW - (keys & _LOW))


def _nothing_left() -> None:
    pass


def _offer(best: Int[Tensor, "U k"], x: Float[Tensor, "n U"], tokens: Int[Tensor, " n"], sign: int) -> Rest:
    """Find the groups that may hold something better than `best`; the rest looks into them and writes to `best`."""
    # A group's largest value with its first token is at least as large a key as any it holds.
    bound = packed(_peaks(x, sign), tokens[::_GROUP, None])
    hit = bound > best[:, -1]
    count = OnItsWay(hit.sum())

    def rest() -> None:
        hits = int(count.get())
        found = torch.nonzero_static(hit, size=hits)
        for part in found.split(CHUNK // _GROUP) if hits else ():
            group, unit = part.T
            _insert(best, unit, _candidates(x, tokens, sign, group, unit))

    return rest


def _peaks(x: Float[Tensor, "n U"], sign: int) -> Float[Tensor, "G U"]:
    """Each group's largest value of `sign * x`; the last group may be a short one."""
    largest: Callable[[Tensor, int], Tensor] = torch.amax if sign > 0 else torch.amin
    whole = len(x) // _GROUP * _GROUP
    peaks = largest(x[:whole].unflatten(0, (-1, _GROUP)), 1) if whole else x[:0]
    peaks = torch.cat([peaks, largest(x[whole:], 0)[None]]) if whole < len(x) else peaks
    return peaks if sign > 0 else -peaks


def _candidates(
    x: Float[Tensor, "n U"], tokens: Int[Tensor, " n"], sign: int, group: Int[Tensor, " m"], unit: Int[Tensor, " m"]
) -> Int[Tensor, "m g"]:
    """The keys of all activations of these groups; nothing where the last group is short."""
    slot = group[:, None] * _GROUP + torch.arange(_GROUP, device=x.device)
    inside = slot.clamp(max=len(x) - 1)
    keys = packed(x[inside, unit[:, None]] * sign, tokens[inside])
    return keys.masked_fill_(slot >= len(x), NOTHING)


def _insert(best: Int[Tensor, "U k"], unit: Int[Tensor, " m"], keys: Int[Tensor, "m g"]) -> None:
    """Let these keys, row i being of unit `unit[i]`, compete with the units' best."""
    units, k = best.shape
    owner = unit[:, None].expand_as(keys)
    if keys.is_cuda:
        # Sorting a few too many costs less than waiting to learn how many are good enough.
        keys, owner = keys.flatten(), owner.flatten()
    else:
        better = keys > best[unit, -1:]
        keys, owner = keys[better], owner[better]
    keys, order = keys.sort(descending=True)
    owner, by_unit = owner[order].sort(stable=True)
    keys = keys[by_unit]
    start = torch.searchsorted(owner, torch.arange(units, device=best.device))
    rank = torch.arange(len(owner), device=best.device) - start[owner]
    # The column after the last one takes what has too low a rank, and is thrown away.
    new = best.new_full((units, k + 1), NOTHING)
    new[owner, rank.clamp(max=k)] = keys
    # With few candidates only their units are merged; a unit that stands there twice is written twice alike.
    at = unit if len(unit) < units else slice(None)
    best[at] = torch.cat([best[at], new[at, :k]], dim=-1).topk(k, dim=-1).values
