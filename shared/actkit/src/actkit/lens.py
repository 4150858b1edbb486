"""The logit lens: what the model would say if it stopped after each layer (nostalgebraist 2020)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from actkit.captured import Run
from actkit.errors import ActkitError, UnknownSite
from actkit.model import Model

_CHUNK = 16_000_000
"""Logits held at once: 64 MB in float32."""


@dataclass(frozen=True, eq=False)
class Lens:
    """Readings of L layers at every token, in float32. Values at padding slots mean nothing.

    `target_logprobs` and `target_ranks` (0 = most likely) are None when no targets were given.
    """

    layers: list[int]
    top_ids: Int[Tensor, "L B T k"]
    top_logprobs: Float[Tensor, "L B T k"]
    entropy: Float[Tensor, "L B T"]
    """In nats."""
    target_logprobs: Float[Tensor, "L B T"] | None
    target_ranks: Int[Tensor, "L B T"] | None


def logit_lens(model: Model, run: Run, *, targets: Int[Tensor, "B T"] | None = None, top: int = 10) -> Lens:
    """Read every `resid_post.L` the run captured through the final norm and the head.

    `targets`: the token whose log-probability and rank to follow at each slot. Works through the slots in pieces, so
    that the vocabulary's logits are never held for all slots and layers at once. Raises UnknownSite when the run has no
    `resid_post`, ActkitError for targets or `top` that do not fit.
    """
    layers = [int(name.partition(".")[2]) for name in run if name.startswith("resid_post.")]
    if not layers:
        raise UnknownSite("This run captured no resid_post.", 'Run with capture="resid_post.*".')
    shape = run.batch.input_ids.shape
    if targets is not None and targets.shape != shape:
        raise ActkitError(f"targets have shape {list(targets.shape)}; the batch has {list(shape)}.")
    if not 1 <= top <= model.dims.vocab:
        raise ActkitError(f"top is {top}; it must lie between 1 and the vocabulary's {model.dims.vocab} tokens.")
    flat = None if targets is None else targets.to(model.device).flatten()
    with torch.no_grad():
        readings = [_read(model, run[f"resid_post.{layer}"].flatten(0, 1), flat, top) for layer in layers]
    ids, logprobs, entropy, target_logprobs, ranks = (
        None if pieces[0] is None else torch.stack(pieces).unflatten(1, shape) for pieces in zip(*readings, strict=True)
    )
    return Lens(layers, ids, logprobs, entropy, target_logprobs, ranks)  # pyright: ignore[reportArgumentType]


def _read(
    model: Model, resid: Float[Tensor, "n D"], targets: Int[Tensor, " n"] | None, top: int
) -> tuple[Tensor | None, ...]:
    """Top ids, their log-probabilities, entropy, and the targets' log-probabilities and ranks, for n slots."""
    width = max(1, _CHUNK // model.dims.vocab)
    pieces: list[tuple[Tensor | None, ...]] = []
    for start in range(0, len(resid), width):
        some = slice(start, start + width)
        logprobs = model.unembed(resid[some].to(model.device, model.hf.dtype)).float().log_softmax(-1)
        best = logprobs.topk(top, dim=-1)
        entropy = -(logprobs.exp() * logprobs).sum(-1)
        followed = None if targets is None else logprobs.gather(-1, targets[some, None])
        ranks = None if followed is None else (logprobs > followed).sum(-1)
        pieces.append((best.indices, best.values, entropy, None if followed is None else followed[:, 0], ranks))
    return tuple(None if column[0] is None else torch.cat(column) for column in zip(*pieces, strict=True))
