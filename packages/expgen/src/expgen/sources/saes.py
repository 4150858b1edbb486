"""Sparse autoencoders in SAELens' layout: `cfg.json` beside `sae_weights.safetensors`, in a folder or in folders below.

Encoding is SAELens' own: the input in the autoencoder's dtype, normalised as the configuration says, less the decoder's
bias where it says so, through the encoder. Activations are Hugging Face's: an autoencoder that was trained on a model
whose weights TransformerLens had folded or centred meets other numbers here.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import actkit
import torch
from jaxtyping import Float
from runkit import files as stored
from runkit.errors import DataError, UsageError
from torch import Tensor

from expgen.sources import sae_config
from expgen.sources.files import Found, Travelling, name_of, placed, tensors_of, widths
from expgen.sources.sae_config import Sae

WEIGHTS = "sae_weights.safetensors"
_BLOCK = 1 << 24
"""Latents computed at a time: what a step needs beside its result stays below 64 MiB per copy in float32."""
_BIASES = {"standard": ("b_enc",), "topk": ("b_enc",), "jumprelu": ("b_enc", "threshold"),
           "gated": ("b_gate", "r_mag", "b_mag")}  # fmt: skip
"""Per architecture, the tensors [d_sae] it needs beside W_enc [d_in, d_sae] and b_dec [d_in]."""
Weights = dict[str, Tensor]


class Latents(actkit.Feature):
    """The latents of one autoencoder, never negative."""

    def __init__(self, name: str, sae: Sae, weights: Weights, digests: Any) -> None:
        self.name, self.site = name, sae.site
        self._sae, self._digests = sae, digests
        self._weights = Travelling(**weights)

    def __call__(self, x: Float[Tensor, "n *units"]) -> Float[Tensor, "n F"]:
        """Latents of n tokens, in the autoencoder's dtype."""
        sae, w = self._sae, self._weights.on(x.device, self._sae.dtype)
        flat = x.flatten(1)
        found = torch.empty(len(flat), sae.d_sae, dtype=sae.dtype, device=x.device)
        step = max(1, _BLOCK // sae.d_sae)
        for start in range(0, len(flat), step):
            part = _NORMS[sae.norm](flat[start : start + step].to(sae.dtype))
            found[start : start + step] = _encoded(sae, w, part - w["b_dec"] if sae.centred else part)
        return found

    def identity(self) -> Any:
        """Digests of configuration and weights."""
        return {"sae": self._digests}


def read(text: str, model: actkit.Model) -> Found:
    """The autoencoders of a folder, one per layer.

    Raises:
        UsageError: no such folder, none in it, or two for one layer.
        DataError: names the file whose configuration is not served, or whose weights do not fit it or the model.
    """
    folder = placed(text, "sae")
    configs = sorted(folder.rglob(sae_config.NAME)) if folder.is_dir() else []
    if not configs:
        raise UsageError(f"--features sae:{text}: no {sae_config.NAME} in it or in folders below (SAELens' layout)")
    by_layer: dict[int, Sae] = {}
    for sae in (sae_config.parsed(path, model) for path in configs):
        if other := by_layer.get(sae.layer):
            raise UsageError(
                f"--features sae:{text}: two autoencoders of layer {sae.layer}, in {other.path.parent} and "
                f"{sae.path.parent}: name these folders one by one, with commas"
            )
        by_layer[sae.layer] = sae
    units = widths(model, {sae.site for sae in by_layer.values()})
    digests = {layer: _digests(sae.path.parent) for layer, sae in by_layer.items()}
    name = name_of("sae", folder)
    latents = {
        layer: Latents(f"{name}.{layer}", sae, _weights(sae, units[sae.site]), digests[layer])
        for layer, sae in by_layer.items()
    }
    return Found(name, latents, {str(layer): each for layer, each in digests.items()})


def _digests(folder: Path) -> dict[str, str]:
    if not (folder / WEIGHTS).is_file():
        raise DataError(f"{folder} holds {sae_config.NAME} but no {WEIGHTS}")
    return {name: stored.digest(folder / name) for name in (sae_config.NAME, WEIGHTS)}


def _weights(sae: Sae, units: int) -> Weights:
    """What encoding needs, in the dtype that the configuration names."""
    path = sae.path.parent / WEIGHTS
    if sae.d_in != units:
        raise DataError(f"{sae.path}, field 'd_in': expected {units}, the width of {sae.site}, found {sae.d_in}")
    shapes = {"W_enc": (sae.d_in, sae.d_sae), "b_dec": (sae.d_in,)}
    shapes |= dict.fromkeys(_BIASES[sae.architecture], (sae.d_sae,))
    shapes |= {"W_dec": (sae.d_sae, sae.d_in)} if sae.by_decoder_norm else {}
    tensors = tensors_of(path)
    for name, shape in shapes.items():
        found = tuple(tensors[name].shape) if name in tensors else "none"
        if found != shape:
            raise DataError(f"{path}, tensor {name!r}: expected {list(shape)}, found {found}")
    kept = {name: tensors[name].to(sae.dtype) for name in shapes}
    if sae.by_decoder_norm:
        kept["norms"] = kept.pop("W_dec").norm(dim=-1)
    return kept


def _encoded(sae: Sae, w: Weights, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_sae"]:
    pre = x @ w["W_enc"]
    if sae.architecture == "gated":
        return (pre + w["b_gate"] > 0) * _activated(sae, pre * w["r_mag"].exp() + w["b_mag"])
    pre = pre + w["b_enc"]
    if sae.by_decoder_norm:
        pre = pre * w["norms"]
    found = _activated(sae, pre)
    return found * (pre > w["threshold"]) if sae.architecture == "jumprelu" else found


def _activated(sae: Sae, pre: Float[Tensor, "n d_sae"]) -> Float[Tensor, "n d_sae"]:
    if sae.activation == "topk":
        best = pre.topk(sae.k, dim=-1)
        return torch.zeros_like(pre).scatter_(-1, best.indices, best.values.relu())
    return pre.relu().tanh() if sae.activation == "tanh-relu" else pre.relu()


def _layer_norm(x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_in"]:
    x = x - x.mean(-1, keepdim=True)
    return x / (x.std(-1, keepdim=True) + 1e-5)


def _rescaled(x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_in"]:
    return x * (x.shape[-1] ** 0.5 / x.norm(dim=-1, keepdim=True))


_NORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "layer_norm": _layer_norm,
    "constant_norm_rescale": _rescaled,
}
