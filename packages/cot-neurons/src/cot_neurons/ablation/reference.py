"""How neurons behave on the model's own finished chains: what interventions replace them by, and controls match."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
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
    norms = subject.value_norms(layers)
    sums = torch.zeros(3, len(layers), norms.shape[1], dtype=torch.float64, device=norms.device)
    count = 0
    for m in _seen(subject, chains, layers, where):
        block = torch.stack(m).double().to(norms.device)  # [layers, places, neurons]
        sums += torch.stack([block.sum(1), block.square().sum(1), block.abs().sum(1)])
        count += block.shape[1]
    mean, square, size = (sums / count).cpu()
    deviation = (square - mean.square()).clamp(min=0).sqrt()
    strength = size * norms.cpu()
    return Reference(*({layer: each[i].float() for i, layer in enumerate(layers)}
                       for each in (mean, deviation, strength)))  # fmt: skip


def bank(
    subject: Subject, chains: Sequence[Chains], units: Mapping[int, Sequence[int]], where: Place, seed: int
) -> dict[int, Float[Tensor, "R U"]]:
    """m of the given units at `BANK` random places of the chains, the same places in every layer."""
    layers, kept = list(units), []
    for m in _seen(subject, chains, layers, where):
        kept.append([each[:, list(units[layer])].float().cpu() for layer, each in zip(layers, m, strict=True)])
    every = [torch.cat(each) for each in zip(*kept, strict=True)]
    chosen = torch.randperm(len(every[0]), generator=torch.Generator().manual_seed(seed))[:BANK]
    return {layer: each[chosen] for layer, each in zip(layers, every, strict=True)}


def _seen(
    subject: Subject, chains: Sequence[Chains], layers: Sequence[int], where: Place
) -> Iterator[list[Float[Tensor, "places N"]]]:
    """Activations of each layer at the places that count, batch by batch."""
    sites = [f"mlp_post.{layer}" for layer in layers]
    for batch in track(chains, "reference", len(chains)):
        run = subject.model.run(batch.batch, capture=sites, logits=None)
        if where == "generated":
            yield [batch.written(run[site]) for site in sites]
            continue
        counts = batch.batch.positions >= 0
        if where == "prompt":
            rows, columns = batch.places
            first = torch.full_like(counts[:, 0], counts.shape[1], dtype=torch.int64)
            first.scatter_reduce_(0, rows, columns, "amin")
            counts &= torch.arange(counts.shape[1], device=counts.device) < first[:, None]
        yield [run[site][counts.to(run[site].device)] for site in sites]
