"""What is done to neurons, exact by (layer, neuron): edits of activations, gone when the call ends.

A neuron i of layer l writes m·v to the residual stream. Each row of a batch has a condition of its own, so many
experiments share one batch, and rows without one stay as they are, bit for bit. By mode (x: the amount):

- zero: m becomes 0. mean: the neuron's mean over the reference chains. scale: x·m (0: zero; below 0: against itself).
- resample: what m was at a random step of the reference chains, drawn anew at every token.
- noise: m + x·σ·ε, σ its standard deviation over the reference chains, ε standard normal, drawn anew at every token.
- value-noise: v + x·‖v‖·e, e a random vector of mean 0 and expected length 1, one per neuron, the same at every token.
- reference: v replaced by one vector with entries from N(-1, 1), the same for all neurons, as the only coherent version
  of the original code of Rai & Yao (2024) did.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import actkit
import torch
from actkit import Where
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cot_neurons.ablation import draws
from cot_neurons.ablation.reference import Reference
from cot_neurons.options import Mode, Place

Neuron = tuple[int, int]
AMOUNTS = {"scale": (0.0,), "noise": (1.0,), "value-noise": (1.0,)}
"""Modes that have an amount, and the one they take where none is asked for."""


@dataclass(frozen=True)
class Condition:
    """One model to run: which neurons are intervened on, how much, and what the condition is there for."""

    number: int
    concept: str | None
    kind: str
    draw: int
    amount: float
    neurons: tuple[Neuron, ...]


class Rows(NamedTuple):
    """Of each row of a batch: its condition, the number of its item, and the tokens of its prompt."""

    condition: Int[Tensor, " B"]
    item: Int[Tensor, " B"]
    prompt: Int[Tensor, " B"]

    def to(self, device: torch.device) -> "Rows":
        """The same on another device."""
        return Rows(*(each.to(device) for each in self))

    def inside(self, where: Place, rows: Int[Tensor, " K"], positions: Int[Tensor, " K"]) -> Bool[Tensor, " K"]:
        """Whether each place counts; a token is generated at the position before it, which may be the prompt's last."""
        if where == "all":
            return torch.ones_like(positions, dtype=torch.bool)
        generated = positions >= self.prompt[rows] - 1
        return generated if where == "generated" else ~generated


class Interventions:
    """The edits that a batch needs, for a list of conditions."""

    def __init__(
        self,
        model: actkit.Model,
        conditions: Sequence[Condition],
        reference: Reference,
        *,
        mode: Mode,
        where: Place,
        seed: int,
    ) -> None:
        self._model, self._mode, self._seed = model, mode, seed
        self._where: Place = where
        # Everything is put where the model is, once: a copy at every step would make an accelerator wait.
        self._amounts = torch.tensor([condition.amount for condition in conditions], device=model.device)
        touched = units(conditions)
        self._layers = {layer: _Layer(layer, touched[layer], conditions, reference, model.device) for layer in touched}
        self._writes = {layer: self._other_values(each) for layer, each in self._layers.items() if mode in _WRITES}

    def edits(self, rows: Rows) -> list[actkit.Edit]:
        """The edits of one batch: `rows` says what each of its rows is."""
        make = self._on_values if self._writes else self._on_activations
        return [edit for layer in self._layers.values() for edit in make(layer, rows.to(self._model.device))]

    def _other_values(self, layer: "_Layer") -> Float[Tensor, "U D"]:
        """What each touched neuron of a layer writes beyond its own value vector, per unit of activation."""
        values = self._model.value_vectors(layer.number).detach()[list(layer.units)].float()
        return _WRITES[self._mode](values, layer, self._seed)

    def _on_activations(self, layer: "_Layer", batch: Rows) -> list[actkit.Edit]:
        new = _NEW[self._mode]

        def change(old: Tensor, rows: Tensor, positions: Tensor) -> Tensor:
            at = batch.to(old.device)
            on = layer.mask.to(old.device)[at.condition[rows]] & at.inside(self._where, rows, positions)[:, None]
            amount = self._amounts.to(old.device)[at.condition[rows], None]
            place = (at.item[rows, None], positions[:, None], layer.names.to(old.device))
            return torch.where(on, new(layer, old, amount, self._seed, place).to(old), old)

        return [actkit.by_place(f"mlp_post.{layer.number}", change, Where(units=layer.units))]

    def _on_values(self, layer: "_Layer", batch: Rows) -> list[actkit.Edit]:
        """Other value vectors for some rows: what they write instead is added to the MLP's output."""
        writes = self._writes[layer.number]
        held: list[Tensor] = []

        def look(old: Tensor, rows: Tensor, positions: Tensor) -> Tensor:
            at = batch.to(old.device)
            on = layer.mask.to(old.device)[at.condition[rows]] & at.inside(self._where, rows, positions)[:, None]
            amount = self._amounts.to(old.device)[at.condition[rows], None] if self._mode == "value-noise" else 1.0
            held.append(torch.where(on, old.float() * amount, 0.0))
            return old

        def write(old: Tensor, _rows: Tensor, _positions: Tensor) -> Tensor:
            m = held.pop()
            return torch.where((m != 0).any(1, keepdim=True), (old + m @ writes.to(m)).to(old), old)

        at = f"mlp_post.{layer.number}"
        return [actkit.by_place(at, look, Where(units=layer.units)), actkit.by_place(f"mlp_out.{layer.number}", write)]


def units(conditions: Sequence[Condition]) -> dict[int, tuple[int, ...]]:
    """For each layer that any condition touches, the neurons that any of them touches."""
    every = sorted({neuron for condition in conditions for neuron in condition.neurons})
    return {layer: tuple(i for at, i in every if at == layer) for layer in dict.fromkeys(at for at, _ in every)}


class _Layer:
    """One layer's touched units U, and which of them each condition touches: `mask` [conditions, U]."""

    def __init__(
        self,
        number: int,
        touched: tuple[int, ...],
        conditions: Sequence[Condition],
        reference: Reference,
        device: torch.device,
    ) -> None:
        self.number, self.units = number, touched
        column = {unit: i for i, unit in enumerate(touched)}
        self.mask = torch.zeros(len(conditions), len(touched), dtype=torch.bool)
        for i, condition in enumerate(conditions):
            self.mask[i, [column[unit] for at, unit in condition.neurons if at == number]] = True
        self.mask = self.mask.to(device)
        # a number of its own for every neuron of the model
        self.names = (torch.tensor(touched) + (number << 32)).to(device)
        self.mean, self.deviation = (
            each[number][list(touched)].to(device) for each in (reference.mean, reference.deviation)
        )
        self.bank = reference.bank[number].to(device) if number in reference.bank else None


Drawn = tuple[Int[Tensor, "K 1"], Int[Tensor, "K 1"], Int[Tensor, " U"]]
New = Callable[[_Layer, Float[Tensor, "K U"], Float[Tensor, "K 1"], int, Drawn], Tensor]


def _resampled(layer: _Layer, old: Tensor, _amount: Tensor, seed: int, place: Drawn) -> Tensor:
    assert layer.bank is not None, "a reference without a bank"
    step = (draws.uniform(seed, place[0], place[1]) * len(layer.bank)).long()
    return layer.bank.to(old.device)[step[:, 0]]


def _noisy(layer: _Layer, old: Tensor, amount: Tensor, seed: int, place: Drawn) -> Tensor:
    return old + amount * layer.deviation.to(old.device) * draws.gaussian(seed, *place)


_NEW: dict[str, New] = {
    "zero": lambda _layer, old, _amount, _seed, _place: torch.zeros_like(old),
    "mean": lambda layer, old, _amount, _seed, _place: layer.mean.to(old).expand_as(old),
    "scale": lambda _layer, old, amount, _seed, _place: old * amount,
    "resample": _resampled,
    "noise": _noisy,
}


def _noise_vectors(values: Float[Tensor, "U D"], layer: _Layer, seed: int) -> Float[Tensor, "U D"]:
    entry = torch.arange(values.shape[1], device=values.device)
    direction = draws.gaussian(seed, layer.names.to(values.device)[:, None], entry) / values.shape[1] ** 0.5
    return direction * values.norm(dim=1, keepdim=True)


def _replacing(values: Float[Tensor, "U D"], _layer: _Layer, seed: int) -> Float[Tensor, "U D"]:
    return draws.gaussian(seed, torch.arange(values.shape[1], device=values.device)) - 1 - values


_WRITES = {"value-noise": _noise_vectors, "reference": _replacing}
