"""How neurons behave on the model's own finished chains: what interventions replace them by, and controls match."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

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


def measured(subject: Subject, chains: Sequence[Chains], layers: Sequence[int], where: Place) -> Reference:
    """One forward over the chains; `where` says which of their tokens count."""
    norms = subject.value_norms(layers).cpu()
    sums: dict[int, Tensor] = {}
    count = 0

    def add(layer: int, m: Float[Tensor, "places N"]) -> None:
        nonlocal count
        m = m.double()
        sums[layer] = sums.get(layer, 0) + torch.stack([m.sum(0), m.square().sum(0), m.abs().sum(0)])
        count += len(m) if layer == layers[0] else 0

    _show(subject, chains, layers, where, add)
    mean, square, size = torch.stack([(sums[layer] / count).cpu() for layer in layers], dim=1)
    deviation = (square - mean.square()).clamp(min=0).sqrt()
    return Reference(*({layer: each[i].float() for i, layer in enumerate(layers)}
                       for each in (mean, deviation, size * norms)))  # fmt: skip


def bank(
    subject: Subject, chains: Sequence[Chains], units: Mapping[int, Sequence[int]], where: Place, seed: int
) -> dict[int, Float[Tensor, "R U"]]:
    """m of the given units at `BANK` random places of the chains, the same places in every layer."""
    kept: dict[int, list[Tensor]] = {layer: [] for layer in units}
    _show(subject, chains, list(units), where, lambda layer, m: kept[layer].append(m[:, list(units[layer])].cpu()))
    every = {layer: torch.cat(each).float() for layer, each in kept.items()}
    places = len(next(iter(every.values())))
    chosen = torch.randperm(places, generator=torch.Generator().manual_seed(seed))[:BANK]
    return {layer: each[chosen] for layer, each in every.items()}


def _show(
    subject: Subject,
    chains: Sequence[Chains],
    layers: Sequence[int],
    where: Place,
    look: Callable[[int, Float[Tensor, "places N"]], None],
) -> None:
    """Hand on each layer's activations at the places that count, batch by batch; one layer is in memory at a time."""
    sites = {f"mlp_post.{layer}": layer for layer in layers}
    for batch in track(chains, "reference", len(chains)):
        counts = _counted(batch, where)
        subject.model.run(
            batch.batch,
            capture=list(sites),
            logits=None,
            on_capture=lambda site, m, counts=counts: look(sites[site], m[counts.to(m.device)]),
        )


def _counted(chains: Chains, where: Place) -> Bool[Tensor, "B T"]:
    """Which places count: those before the one at which the first token was chosen, those at which one was, or all."""
    real = chains.batch.positions >= 0
    chosen = torch.zeros_like(real)
    chosen[chains.places] = True
    if where == "all":
        return real
    return chosen if where == "generated" else real & (chosen.cumsum(1) == 0)
