"""Logit lens: what every state of the prompts would say (paper, section 3.3)."""

from collections.abc import Sequence

import actkit
import polars as pl
import torch
from jaxtyping import Float, Int
from torch import Tensor

from grokked_reasoning.dataset import batches
from grokked_reasoning.tracing.examples import Examples
from grokked_reasoning.tracing.layers import batch, ranks, state

_LOGITS = 16_000_000  # held at once


@torch.no_grad()
def readings(model: actkit.Model, examples: Examples, batch_size: int = 512) -> pl.DataFrame:
    """Mean reciprocal rank of every target at every layer (0: embeddings) and position.

    `examples` with the model's ids. Ranks are over the model's whole vocabulary. Columns as in tables.Lens, but step.
    """
    names, layers = list(examples.targets), range(model.dims.layers + 1)
    sums = torch.zeros(len(layers), len(examples.tokens), len(names), 2, dtype=torch.float64, device=model.device)
    sites, room = [state(model, layer) for layer in layers], actkit.Room()

    def summed(some: Sequence[int]) -> Float[Tensor, "L T targets 2"]:
        chosen = examples.take(slice(some[0], some[-1] + 1))
        run = model.run(batch(model, chosen.prompts), capture=sites, logits=None)
        wanted = [torch.as_tensor(each, device=model.device) for each in chosen.targets.values()]
        return torch.stack([_summed(model, run[site], wanted) for site in sites])

    for some in batches(len(examples), batch_size):
        for each in room(range(len(examples))[some], summed):
            sums += each
    means = (sums / len(examples)).tolist()
    records = [
        (layer, position, token, name, len(examples), *means[layer][position][i])
        for layer in layers
        for position, token in enumerate(examples.tokens)
        for i, name in enumerate(names)
    ]
    columns = {"layer": int, "position": int, "token": str, "target": str, "n": int, "mrr": float, "top3": float}
    return pl.DataFrame(records, columns, orient="row")


def _summed(
    model: actkit.Model, resid: Float[Tensor, "n T D"], wanted: list[Int[Tensor, "n K"]]
) -> Float[Tensor, "T targets 2"]:
    """Sums over the prompts of 1 / (1 + rank) and of rank < 3, each a mean over the K ids of a target."""
    length = resid.shape[1]
    pieces: list[Tensor] = []
    for some in batches(len(resid), max(1, _LOGITS // (length * model.dims.vocab))):
        logits = model.unembed(resid[some]).float().flatten(0, 1)
        found = [ranks(logits, each[some].repeat_interleave(length, dim=0)).double() for each in wanted]
        both = [torch.stack([(1 / (1 + each)).mean(-1), (each < 3).double().mean(-1)], dim=-1) for each in found]
        pieces.append(torch.stack(both, dim=1).unflatten(0, (-1, length)).sum(0))
    return torch.stack(pieces).sum(0)
