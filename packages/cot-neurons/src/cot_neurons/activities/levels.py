"""How active the neurons of each concept are at every step of finished chains.

A neuron is active at a step when it is among the k strongest of its layer that fire with its sign, by m·‖v‖, the rule
by which `discover` finds neurons; its strength is |m|·‖v‖ when it fires with its sign and 0 else.
"""

from dataclasses import dataclass

import polars as pl
import torch
from jaxtyping import Bool, Float, Int
from runkit.errors import UsageError
from torch import Tensor

from cot_neurons import dense
from cot_neurons.finished import Chains
from cot_neurons.subject import Subject

KEY = ["layer", "neuron", "polarity"]


@dataclass(frozen=True)
class _Layer:
    """A layer's labelled neurons, p of them, a neuron that is labelled with both signs counting twice."""

    norms: Float[Tensor, " N"]
    neurons: Int[Tensor, " p"]
    signs: Float[Tensor, " p"]
    belongs: Float[Tensor, "p C"]
    """1 where the neuron is of the concept."""


class Levels:
    """Measures a batch of chains: per item, concept and tag, how many neurons were active and how strong they were.

    `labels`: layer, neuron, polarity, concept; whoever judged, a neuron counts once per concept. Raises UsageError for
    models whose neurons are in experts, and for a `k` that is more than a layer has.
    """

    def __init__(self, subject: Subject, labels: pl.DataFrame, k: int) -> None:
        dense.layers(subject, "activity")
        if k > subject.model.dims.d_mlp:
            raise UsageError(f"--k {k}: a layer has only {subject.model.dims.d_mlp} neurons")
        members = labels.select(*KEY, "concept").unique().sort(*KEY, "concept")
        self.sizes = dict(members.group_by("concept").len().sort("concept").rows())
        self._model, self._k = subject.model, k
        self._layers = {
            f"mlp_post.{layer}": _layer(subject, layer, group, list(self.sizes))
            for (layer,), group in members.partition_by("layer", as_dict=True).items()
        }

    def __call__(self, chains: Chains) -> pl.DataFrame:
        """Row, concept, tag, steps, active, strength (see `tables.ItemActivity`); active and strength are means."""
        count = len(self.sizes)
        active, strength = torch.zeros(2, len(chains.steps), count, device=chains.batch.input_ids.device)

        def look(site: str, m: Tensor) -> None:
            hits, sizes = self._one_layer(self._layers[site], chains.written(m).float())
            active.add_(hits.to(active.device))
            strength.add_(sizes.to(strength.device))

        self._model.run(chains.batch, capture=list(self._layers), logits=None, on_capture=look)
        strength /= torch.tensor(list(self.sizes.values()), device=strength.device)
        return _per_item(chains.steps, list(self.sizes), active, strength)

    def _one_layer(self, layer: _Layer, m: Float[Tensor, "S N"]) -> tuple[Float[Tensor, "S C"], Float[Tensor, "S C"]]:
        """Active neurons per concept, and their summed strength."""
        score = m * layer.norms
        own = score[:, layer.neurons] * layer.signs
        up, down = (self._strongest(each)[:, layer.neurons] for each in (score, -score))
        active = torch.where(layer.signs > 0, up, down) & (own > 0)
        return active.to(m) @ layer.belongs, own.clamp(min=0) @ layer.belongs

    def _strongest(self, score: Float[Tensor, "S N"]) -> Bool[Tensor, "S N"]:
        return torch.zeros_like(score, dtype=torch.bool).scatter_(-1, score.topk(self._k, dim=-1).indices, True)


def _layer(subject: Subject, layer: int, members: pl.DataFrame, concepts: list[str]) -> _Layer:
    norms = subject.value_norms([layer])[0]
    poles = members.select("neuron", "polarity").unique(maintain_order=True)
    belongs = torch.zeros(len(poles), len(concepts))
    place = {pole: i for i, pole in enumerate(poles.iter_rows())}
    for neuron, polarity, concept in members.select("neuron", "polarity", "concept").iter_rows():
        belongs[place[neuron, polarity], concepts.index(concept)] = 1
    signs = torch.tensor([1.0 if sign == "+" else -1.0 for sign in poles["polarity"]])
    neurons = torch.tensor(poles["neuron"].to_list())
    return _Layer(norms, *(each.to(norms.device) for each in (neurons, signs, belongs)))


def _per_item(
    steps: pl.DataFrame, concepts: list[str], active: Float[Tensor, "S C"], strength: Float[Tensor, "S C"]
) -> pl.DataFrame:
    counts, sizes = active.cpu().numpy(), strength.cpu().numpy()
    of_steps = steps.select(pl.col("row").cast(pl.Int64), "tag")
    each = [
        of_steps.with_columns(
            pl.lit(concept).alias("concept"),
            active=pl.Series(counts[:, i]).cast(pl.Float64),
            strength=pl.Series(sizes[:, i]).cast(pl.Float64),
        )
        for i, concept in enumerate(concepts)
    ]
    by_item = pl.concat(each).group_by("row", "concept", "tag", maintain_order=True)
    return by_item.agg(steps=pl.len().cast(pl.Int64), active=pl.mean("active"), strength=pl.mean("strength"))
