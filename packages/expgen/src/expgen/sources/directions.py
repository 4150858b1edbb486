"""Directions that are given: in a safetensors file, under each site's name, a tensor [F, units] or [units]."""

from collections import Counter
from pathlib import Path
from typing import Any

import actkit
import torch
from jaxtyping import Float
from runkit import files as stored
from runkit.errors import DataError, nearest
from torch import Tensor

from expgen.sources.files import Found, Travelling, name_of, placed, tensors_of, widths


class Directions(actkit.Feature):
    """The dot product of a site's activations with each direction, as it is given: not normed, no bias."""

    def __init__(self, name: str, site: str, directions: Float[Tensor, "F units"], digest: str) -> None:
        self.name, self.site = name, site
        self._digest = digest
        self._directions = Travelling(w=directions.T.contiguous())

    def __call__(self, x: Float[Tensor, "n *units"]) -> Float[Tensor, "n F"]:
        """Dot products at n tokens, in float32 or better."""
        dtype = torch.promote_types(x.dtype, torch.float32)
        return x.flatten(1).to(dtype) @ self._directions.on(x.device, dtype)["w"]

    def identity(self) -> Any:
        """The file's digest."""
        return {"directions": self._digest}


def read(text: str, model: actkit.Model) -> Found:
    """The directions of a file, by layer.

    Raises:
        UsageError: there is no such file.
        DataError: names file and key where the model has no such site or it is of another width.
    """
    path = placed(text, "directions")
    tensors, digest = tensors_of(path), stored.digest(path)
    layers = {key: _layer(path, key, model) for key in tensors}
    if not layers:
        raise DataError(f"{path} holds no tensor; a key is a site such as resid_post.3")
    for layer, count in Counter(layers.values()).items():
        if count > 1:
            raise DataError(f"{path}: {count} sites of layer {layer}; a file has one per layer, so make several files")
    units = widths(model, tensors)
    name = name_of("directions", path)
    rows = {key: _rows(path, key, x, units[key]) for key, x in tensors.items()}
    found = {layers[key]: Directions(f"{name}.{layers[key]}", key, x, digest) for key, x in rows.items()}
    return Found(name, found, {"file": digest})


def _layer(path: Path, key: str, model: actkit.Model) -> int:
    site = model.sites.get(key)
    if site is None or site.layer is None or site.kind == "attn_pattern":
        known = [each.name for each in model.sites.values() if each.layer is not None and each.kind != "attn_pattern"]
        raise DataError(f"{path}, tensor {key!r}: {model.family.name} has no such site; {nearest(key, known)}")
    return site.layer


def _rows(path: Path, key: str, x: Tensor, units: int) -> Float[Tensor, "F units"]:
    rows = x[None] if x.dim() == 1 else x
    if rows.dim() != 2 or rows.shape[1] != units or not len(rows):
        raise DataError(f"{path}, tensor {key!r}: expected [F, {units}] or [{units}], found {list(x.shape)}")
    if not rows.is_floating_point() or not bool(rows.isfinite().all()):
        raise DataError(f"{path}, tensor {key!r}: expected finite floating-point numbers, found {x.dtype} or NaN")
    return rows
