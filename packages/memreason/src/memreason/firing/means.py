"""Mean activations over the text of each step, of some layers at a time: no token's activation is kept."""

from collections.abc import Sequence

import actkit
import numpy as np
import torch
from actkit import buckets
from jaxtyping import Float
from runkit.errors import UsageError
from runkit.progress import track
from torch import Tensor

from memreason.attending.drawn import Drawn

_BYTES = 1 << 29


def dense_layers(model: actkit.Model) -> list[int]:
    """The layers with a dense MLP, in order.

    Raises UsageError where neurons are in experts, and actkit's UnknownSite where the model has none at all.
    """
    sites = model.find("mlp_post.*")
    if any(site.tap.side == "inside" for site in sites):
        raise UsageError(f"{model.family.name} has neurons in experts, which neurons does not look at yet")
    return [site.layer for site in sites if site.layer is not None]


def chunks(layers: Sequence[int], model: actkit.Model, found: Sequence[Drawn]) -> list[list[int]]:
    """Layers in groups whose means are held at once; a pass over the traces for each."""
    steps = sum(len(each.item.trace.steps) for each in found)
    some = max(1, _BYTES // max(1, 4 * steps * model.dims.d_mlp))
    return [list(layers[at : at + some]) for at in range(0, len(layers), some)]


def step_means(
    model: actkit.Model, found: Sequence[Drawn], layers: Sequence[int], batch_size: int
) -> dict[int, Float[np.ndarray, "steps N"]]:
    """By layer, of all steps in the order of the traces, in float32."""
    counts = [len(each.item.trace.steps) for each in found]
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(int)
    held = {layer: np.empty((0, 0), np.float32) for layer in layers}
    groups = buckets([len(each.rendered.ids) for each in found], batch_size)
    room = actkit.Room()

    def fill(some: Sequence[int]) -> None:
        rows = np.concatenate([np.arange(starts[number], starts[number + 1]) for number in some])
        for layer, means in _of_batch(model, [found[number] for number in some], layers).items():
            if not held[layer].size:
                held[layer] = np.empty((starts[-1], means.shape[1]), np.float32)
            held[layer][rows] = means

    for group in track(groups, "batches", len(groups)):
        room(group, fill)
    return held


def averaged(means: Float[np.ndarray, "steps N"], counts: Sequence[int]) -> Float[np.ndarray, "traces N"]:
    """Means of traces that have so many steps."""
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(int)
    return np.add.reduceat(means, starts) / np.array(counts)[:, None]


def _of_batch(model: actkit.Model, some: Sequence[Drawn], layers: Sequence[int]) -> dict[int, np.ndarray]:
    weights = _weights(some).to(model.device)
    means: dict[int, Tensor] = {}

    def reduce(site: str, activations: Float[Tensor, "B T N"]) -> None:
        x = activations.float()
        means[int(site.rpartition(".")[2])] = torch.cat(list(weights.to(x.device) @ x))

    batch = model.encode([each.rendered.ids for each in some], pad="right")  # so that a token's column is its number
    model.run(batch, capture=[f"mlp_post.{layer}" for layer in layers], logits=None, on_capture=reduce)
    most = weights.shape[1]
    there = np.concatenate([np.arange(most) < len(each.item.trace.steps) for each in some])
    return {layer: each.cpu().numpy()[there] for layer, each in means.items()}


def _weights(some: Sequence[Drawn]) -> Float[Tensor, "B S T"]:
    """What each token counts in the mean of each step."""
    steps = max(len(each.item.trace.steps) for each in some)
    weights = torch.zeros(len(some), steps, max(len(each.rendered.ids) for each in some))
    for row, each in enumerate(some):
        for step in range(len(each.item.trace.steps)):
            places = each.positions(step)
            weights[row, step, places] = 1 / len(places)
    return weights
