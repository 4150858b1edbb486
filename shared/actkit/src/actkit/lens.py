"""The logit lens: what the model would say if it stopped after each layer (nostalgebraist 2020)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from actkit.batch import Batch
from actkit.captured import Origin, Run
from actkit.errors import ActkitError, UnknownSite
from actkit.model import Model
from actkit.tokens import readable

if TYPE_CHECKING:
    from actkit.plots import Picture

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
    targets: Int[Tensor, "B T"] | None
    batch: Batch
    origin: Origin

    def table(self) -> pl.DataFrame:
        """One line per row, position and layer; positions count a row's real tokens.

        Columns: row, position, token (the one read there), layer, top (the likeliest tokens, best first), top_ids,
        probs (theirs), entropy (nats), target, target_logprob (nats), target_rank (0 = most likely); the last three
        are null without targets.
        """
        b, t = self.batch.attention_mask.cpu().nonzero(as_tuple=True)
        read, place = self.batch.input_ids.cpu()[b, t], self.batch.positions.cpu()[b, t]
        n, depth = len(b), len(self.layers)
        ids = self._real(self.top_ids)
        followed = None if self.targets is None else self.targets.cpu()[b, t]
        columns: dict[str, Any] = {
            "row": b.repeat_interleave(depth).numpy(),
            "position": place.repeat_interleave(depth).numpy(),
            "token": [word for word in self._words(read) for _ in self.layers],
            "layer": self.layers * n,
            "top": np.array(self._words(ids.flatten()), dtype=object).reshape(ids.shape).tolist(),
            "top_ids": ids.tolist(),
            "probs": self._real(self.top_logprobs).exp().tolist(),
            "entropy": self._real(self.entropy).numpy(),
            "target": None if followed is None else [word for word in self._words(followed) for _ in self.layers],
            "target_logprob": None if self.target_logprobs is None else self._real(self.target_logprobs).numpy(),
            "target_rank": None if self.target_ranks is None else self._real(self.target_ranks).numpy(),
        }
        return pl.DataFrame({name: [None] * (n * depth) if x is None else x for name, x in columns.items()}, _SCHEMA)

    def plot(
        self,
        row: int = 0,
        *,
        positions: Sequence[int] | None = None,
        color: Literal["probability", "entropy"] = "probability",
    ) -> "Picture":
        """Layers by tokens of one row: the likeliest token in each cell, coloured by its probability or the entropy.

        `positions`: which of the row's real tokens, all by default; -1 is the last. Raises ActkitError for a row or
        position that is not there, and for another colour.
        """
        if color not in ("probability", "entropy"):
            raise ActkitError(f"color is {color!r}; it must be 'probability' or 'entropy'.")
        from actkit.plots import token_grid

        tokens = self.origin.tokens(self.batch, row)
        chosen = list(range(len(tokens)) if positions is None else positions)
        if not chosen or not all(-len(tokens) <= p < len(tokens) for p in chosen):
            raise ActkitError(f"Row {row} has positions 0 to {len(tokens) - 1}; positions are {chosen}.")
        columns = self.batch.attention_mask[row].nonzero()[chosen, 0].to(self.entropy.device)
        best = self.top_logprobs[:, row, columns, 0].exp()
        values = (best if color == "probability" else self.entropy[:, row, columns]).cpu().numpy()
        return token_grid(
            values,
            [self._words(ids) for ids in self.top_ids[:, row, columns, 0]],
            layers=self.layers,
            tokens=[tokens[p] for p in chosen],
            title="What the model would say next if it stopped after each layer",
            cmap="Blues" if color == "probability" else "Oranges",
            limits=(0.0, 1.0 if color == "probability" else max(float(values.max()), 1e-6)),
            unit=color if color == "probability" else "entropy (nats)",
        )

    def __repr__(self) -> str:
        rows, width = self.batch.input_ids.shape
        followed = "" if self.targets is None else ", targets followed"
        return f"Lens({len(self.layers)} layers × {rows} rows × {width} tokens, top {self.top_ids.shape[-1]}{followed})"

    def _words(self, ids: Int[Tensor, " n"]) -> list[str]:
        return readable(self.origin.tokenizer, ids.tolist())

    def _real(self, values: Shaped[Tensor, "L B T *k"]) -> Shaped[Tensor, "n *k"]:
        """Values at real tokens, row by row, position by position, then layer by layer."""
        real = self.batch.attention_mask.bool().cpu()
        return values.cpu().movedim(0, 2)[real].flatten(0, 1)


_SCHEMA = {
    "row": pl.Int64, "position": pl.Int64, "token": pl.String, "layer": pl.Int64, "top": pl.List(pl.String),
    "top_ids": pl.List(pl.Int64), "probs": pl.List(pl.Float32), "entropy": pl.Float32, "target": pl.String,
    "target_logprob": pl.Float32, "target_rank": pl.Int64,
}  # fmt: skip


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
    return Lens(layers, ids, logprobs, entropy, target_logprobs, ranks, targets, run.batch, run.origin)  # pyright: ignore[reportArgumentType]


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
