"""What a neuron says: its value vector read through the unembedding."""

from collections.abc import Iterable
from typing import Literal

import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from actkit.errors import ActkitError
from actkit.model import Model, held

LensKind = Literal["norm", "raw"]
Poles = Literal["both", "+", "-"]

_CHUNK = 32_000_000
"""Scores held at once: 128 MB in float32."""


def promoted_tokens(
    model: Model,
    neurons: Iterable[tuple[int, int]],
    *,
    k: int = 20,
    lens: LensKind = "norm",
    poles: Poles = "both",
) -> pl.DataFrame:
    """The `k` tokens each (layer, index) neuron pushes up when active (pole "+") and when negative (pole "-").

    Neurons of experts are counted through: neuron i of expert e is e·N + i.

    With v the value vector and U the unembedding, in float32:
    `lens="raw"`: score U·v, without any norm (Geva et al. 2022, section 3; Rai & Yao 2024, algorithm 2), and `prob`,
    the softmax over the vocabulary of U·v (pole "+") or -U·v (pole "-").
    `lens="norm"`: s = U·(g ⊙ (v - mean v)), g the final norm's gain, the mean taken only where that norm is a
    LayerNorm; the score is s as a z-score over the vocabulary, and `prob` is null.

    Columns: layer, neuron, pole, rank (from 1), token_id, token (the vocabulary's own spelling, leading-space mark
    kept), text (decoded), score (of +v in both poles: "-" lists the lowest), prob.
    """
    asked = list(dict.fromkeys((int(layer), int(index)) for layer, index in neurons))
    if not 1 <= k <= model.dims.vocab:
        raise ActkitError(f"k is {k}; it must lie between 1 and the vocabulary's {model.dims.vocab} tokens.")
    if lens not in ("norm", "raw") or poles not in ("both", "+", "-"):
        raise ActkitError(f"lens {lens!r} must be 'norm' or 'raw'; poles {poles!r} must be 'both', '+' or '-'.")
    signs = {"both": (1, -1), "+": (1,), "-": (-1,)}[poles]
    width = max(1, _CHUNK // model.dims.vocab)
    parts = []
    with torch.no_grad():
        for start in range(0, len(asked), width):
            chunk = asked[start : start + width]
            scores = token_scores(model, _vectors(model, chunk), lens=lens)
            parts += [_ranked(chunk, scores, k, sign, lens) for sign in signs]
    frame = pl.concat(parts) if parts else pl.DataFrame(schema=_SCHEMA)
    order = pl.DataFrame(asked, schema={"layer": pl.Int64, "neuron": pl.Int64}, orient="row").with_row_index("place")
    placed = frame.join(order, on=["layer", "neuron"], how="left")
    return _named(model, placed.sort("place", pl.col("pole") == "-", "rank"))


_SCHEMA = {
    "layer": pl.Int64, "neuron": pl.Int64, "pole": pl.String, "rank": pl.Int64, "token_id": pl.Int64,
    "score": pl.Float32, "prob": pl.Float32,
}  # fmt: skip


def token_scores(model: Model, vectors: Float[Tensor, "n D"], *, lens: LensKind = "norm") -> Float[Tensor, "n V"]:
    """Score of every token under each vector, in float32, as `promoted_tokens` defines it."""
    v = vectors.float()
    if lens == "norm":
        gain, centred = model.norm_gain()
        v = v - v.mean(-1, keepdim=True) if centred else v
        v = v if gain is None else v * gain.float()
    head = held(model.head.weight)
    scores = model.project_out(v.to(head.dtype)).float() @ head.float().T
    if lens == "raw":
        return scores
    spread = scores.std(-1, correction=0, keepdim=True)
    # A neuron that writes nothing promotes nothing: all its z-scores are 0 rather than 0/0.
    return (scores - scores.mean(-1, keepdim=True)) / torch.where(spread == 0, 1.0, spread)


def _vectors(model: Model, neurons: list[tuple[int, int]]) -> Float[Tensor, "n D"]:
    """The neurons' value vectors in the order asked for, gathered layer by layer."""
    gathered: dict[tuple[int, int], Tensor] = {}
    for layer in {layer for layer, _ in neurons}:
        wanted = [index for at, index in neurons if at == layer]
        values = model.value_vectors(layer).flatten(0, -2)
        if not all(0 <= index < len(values) for index in wanted):
            raise ActkitError(f"Layer {layer} has neurons 0 to {len(values) - 1}, not {max(wanted, key=abs)}.")
        rows = values[wanted].float().to(model.head.weight.device)
        gathered.update(zip(((layer, index) for index in wanted), rows, strict=True))
    return torch.stack([gathered[neuron] for neuron in neurons])


def _ranked(
    neurons: list[tuple[int, int]], scores: Float[Tensor, "n V"], k: int, sign: int, lens: LensKind
) -> pl.DataFrame:
    """Long table of the top `k` tokens at one pole."""
    ids = (scores * sign).topk(k, dim=-1).indices
    best = scores.gather(-1, ids)
    log_mass = (scores * sign).logsumexp(-1, keepdim=True)
    probs = (best * sign - log_mass).exp().flatten().tolist() if lens == "raw" else [None] * best.numel()
    layers, indices = zip(*neurons, strict=True)
    repeat = torch.arange(len(neurons)).repeat_interleave(k)
    return pl.DataFrame(
        {
            "layer": torch.tensor(layers)[repeat].numpy(),
            "neuron": torch.tensor(indices)[repeat].numpy(),
            "pole": ["+" if sign > 0 else "-"] * len(repeat),
            "rank": torch.arange(1, k + 1).repeat(len(neurons)).numpy(),
            "token_id": ids.flatten().cpu().numpy(),
            "score": best.flatten().cpu().numpy(),
            "prob": probs,
        },
        schema=_SCHEMA,
    )


def _named(model: Model, frame: pl.DataFrame) -> pl.DataFrame:
    """Add `token` and `text`, each id spelled once."""
    ids = frame["token_id"].unique().to_list()
    names = pl.DataFrame(
        {"token_id": ids, "token": [spelling(model, i) for i in ids], "text": [decoded(model, i) for i in ids]},
        schema={"token_id": pl.Int64, "token": pl.String, "text": pl.String},
    )
    columns = ["layer", "neuron", "pole", "rank", "token_id", "token", "text", "score", "prob"]
    return frame.join(names, on="token_id", how="left", maintain_order="left").select(columns)


def spelling(model: Model, token_id: int) -> str:
    """The vocabulary's own name of a token, with its leading-space mark; `<id>` where it has none."""
    name = model.tokenizer.convert_ids_to_tokens(token_id) if model.tokenizer is not None else None
    return name if isinstance(name, str) else f"<{token_id}>"


def decoded(model: Model, token_id: int) -> str:
    """The token as readable text; `<id>` where it has none."""
    text = model.tokenizer.decode([token_id]) if model.tokenizer is not None else None
    return text if isinstance(text, str) else f"<{token_id}>"
