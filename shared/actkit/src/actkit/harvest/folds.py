"""States of a folding reducer over shards, merged in an order that depends on the shards' numbers alone."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from actkit.harvest.reducing import Folding, State

_RUNNING = "all"


class Fold:
    """One reducer at one site, over the shards this process has done.

    An exact reducer keeps one running state. Of the others each shard gets a state of its own; two neighbours that
    make a whole pair (0-1, 2-3, then 0..3, ...) are merged, left one first, as in a binary counter. So there are at
    most log2(shards) + 1 states, and whichever process did which consecutive shards, the same pairs are merged.
    """

    def __init__(self, reducer: Folding, units: int, device: torch.device) -> None:
        self.reducer = reducer
        self.units = units
        self.device = device
        self.states: dict[str, State] = {}

    def open(self) -> State:
        """The state a shard is to be reduced into."""
        state = self.states.get(_RUNNING) if self.reducer.exact else None
        return self.reducer.init(self.units, self.device) if state is None else state

    def close(self, shard: int, state: State) -> None:
        """The shard is done: its state counts from now on."""
        if self.reducer.exact:
            self.states[_RUNNING] = state
        else:
            self._pair(0, shard, state)

    def take(self, other: "Fold") -> None:
        """Take in what another process made of shards not done here."""
        for key, state in sorted(other.states.items(), key=lambda item: _span(item[0])):
            if key != _RUNNING:
                self._pair(*_place(key), state)
            elif key in self.states:
                self.reducer.merge(self.states[key], state)
            else:
                self.states[key] = state

    def _pair(self, level: int, number: int, state: State) -> None:
        while (neighbour := self.states.pop(_key(level, number ^ 1), None)) is not None:
            left, right = (neighbour, state) if number & 1 else (state, neighbour)
            self.reducer.merge(left, right)
            level, number, state = level + 1, number >> 1, left
        self.states[_key(level, number)] = state

    def result(self) -> dict[str, Tensor]:
        """The result over all shards, from the first to the last."""
        first, *others = (self.states[key] for key in sorted(self.states, key=_span))
        for state in others:
            self.reducer.merge(first, state)
        return self.reducer.finish(first)

    def saved(self) -> dict[str, Tensor]:
        """The states as named tensors."""
        return {f"{key}/{name}": x for key, state in self.states.items() for name, x in state.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """The states back from named tensors, on their device; tensors without dimensions stay on the host."""
        self.states = {}
        for name, x in tensors.items():
            key, _, part = name.partition("/")
            self.states.setdefault(key, {})[part] = x.to(self.device) if x.dim() else x


def _key(level: int, number: int) -> str:
    return f"{level}.{number}"


def _place(key: str) -> tuple[int, int]:
    level, _, number = key.partition(".")
    return int(level), int(number)


def _span(key: str) -> int:
    """The first shard a state covers."""
    return 0 if key == _RUNNING else _place(key)[1] << _place(key)[0]


def most_states(reducer: Folding, shards: int) -> int:
    """The most states alive at once, the one being made included."""
    return 1 if reducer.exact else shards.bit_length() + 1


def restored(folds: Iterable[tuple[str, Fold]], tensors: Mapping[str, Tensor]) -> None:
    """Give each fold the tensors that stand under its name."""
    for label, fold in folds:
        prefix = f"{label}|"
        fold.restore({name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)})
