"""How neurons behave on the model's own finished chains: what interventions replace them by, and controls match."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import actkit
import torch
from jaxtyping import Bool, Float
from runkit.progress import track
from torch import Tensor

from cot_neurons.finished import Chains
from cot_neurons.options import Place
from cot_neurons.subject import Subject

BANK = 1024
"""Steps held for resampling."""


@dataclass(frozen=True)
class Reference:
    """By layer: mean and standard deviation of each neuron's m [N], its mean strength |m|·‖v‖ [N].

    `bank`: for resampling, m of the touched units at random steps [steps, U]. All in float32 on the cpu.
    """

    mean: Mapping[int, Float[Tensor, " N"]]
    deviation: Mapping[int, Float[Tensor, " N"]]
    strength: Mapping[int, Float[Tensor, " N"]]
    bank: Mapping[int, Float[Tensor, "R U"]] = field(default_factory=dict)


def measured(
    subject: Subject, chains: Sequence[Chains], layers: Sequence[int], where: Place, room: actkit.Room
) -> Reference:
    """One forward over the chains; `where` says which of their tokens count."""
    norms = subject.value_norms(layers).cpu()
    sums: dict[int, Tensor] = {}
    for found in _shown(subject, chains, layers, where, room, _summed):
        for layer, each in found.items():
            sums[layer] = sums.get(layer, 0) + each
    mean, square, size = torch.stack([(sums[layer][1:] / sums[layer][0]).cpu() for layer in layers], dim=1)
    deviation = (square - mean.square()).clamp(min=0).sqrt()
    return Reference(*({layer: each[i].float() for i, layer in enumerate(layers)}
                       for each in (mean, deviation, size * norms)))  # fmt: skip


def bank(
    subject: Subject,
    chains: Sequence[Chains],
    units: Mapping[int, Sequence[int]],
    where: Place,
    seed: int,
    room: actkit.Room,
) -> dict[int, Float[Tensor, "R U"]]:
    """m of the given units at `BANK` random places of the chains, the same places in every layer."""
    found = _shown(subject, chains, list(units), where, room, lambda layer, m: m[:, list(units[layer])].cpu())
    kept = list(found)
    every = {layer: torch.cat([each[layer] for each in kept]).float() for layer in units}
    places = len(next(iter(every.values())))
    chosen = torch.randperm(places, generator=torch.Generator().manual_seed(seed))[:BANK]
    return {layer: each[chosen] for layer, each in every.items()}


def _summed(_layer: int, m: Float[Tensor, "places N"]) -> Float[Tensor, "4 N"]:
    """How many, their sum, and those of their squares and sizes."""
    m = m.double()
    return torch.stack([torch.full_like(m.sum(0), len(m)), m.sum(0), m.square().sum(0), m.abs().sum(0)])


def _shown(
    subject: Subject,
    chains: Sequence[Chains],
    layers: Sequence[int],
    where: Place,
    room: actkit.Room,
    reduce: Callable[[int, Float[Tensor, "places N"]], Tensor],
) -> Iterator[dict[int, Tensor]]:
    """What each layer's activations at the places that count are reduced to, batch by batch; one layer is in memory
    at a time."""
    sites = {f"mlp_post.{layer}": layer for layer in layers}

    def reduced(batch: Chains) -> dict[int, Tensor]:
        found: dict[int, Tensor] = {}
        counts = _counted(batch, where)

        def keep(site: str, m: Float[Tensor, "B T N"]) -> None:
            found[sites[site]] = reduce(sites[site], m[counts.to(m.device)])

        subject.model.run(batch.batch, capture=list(sites), logits=None, on_capture=keep)
        return found

    for batch in track(chains, "reference", len(chains)):
        yield from batch.within(room, reduced)


def _counted(chains: Chains, where: Place) -> Bool[Tensor, "B T"]:
    """Which places count: those before the one at which the first token was chosen, those at which one was, or all."""
    real = chains.batch.positions >= 0
    chosen = torch.zeros_like(real)
    chosen[chains.places] = True
    if where == "all":
        return real
    return chosen if where == "generated" else real & (chosen.cumsum(1) == 0)
