"""Attention heads as features: how much each writes into the residual stream."""

from collections.abc import Iterable
from typing import Any

import actkit
import torch
from actkit.model import held
from jaxtyping import Float
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from expgen.sources.files import Travelling


class Heads(actkit.Feature):
    """Per head h, the norm of z_h @ W_O_h: what it adds to the attention's output at a token.

    Never negative, so only "+" is ever alive. The output projection's bias belongs to no head and is left out; a norm
    or a factor that a family puts behind the projection is not applied. Computed in float32 or better.
    """

    def __init__(self, layer: int, written: Float[Tensor, "H d D"]) -> None:
        self.name, self.site = f"heads.{layer}", f"attn_z.{layer}"
        # |z W| = |R z| for W^T = Q R: d numbers per head instead of D, and no rounding of a square's small difference.
        self._folded = Travelling(r=torch.linalg.qr(written.double().cpu().transpose(1, 2), mode="r").R)

    def __call__(self, x: Float[Tensor, "n H d"]) -> Float[Tensor, "n H"]:
        """The heads' norms at n tokens."""
        dtype = torch.promote_types(x.dtype, torch.float32)
        r = self._folded.on(x.device, dtype)["r"]
        return torch.einsum("hed,nhd->nhe", r, x.to(dtype)).norm(dim=-1)

    def identity(self) -> Any:
        """The weights are the model's own."""
        return "norm of what a head writes"


def features(model: actkit.Model, layers: Iterable[int]) -> dict[int, actkit.Feature]:
    """All heads of these layers. Raises LoadError where the projections are offloaded."""
    return {layer: Heads(layer, _written(model, layer)) for layer in layers}


def _written(model: actkit.Model, layer: int) -> Float[Tensor, "H d D"]:
    """What each head writes per unit of its z: its rows of the output projection."""
    projection: Any = model.sites[f"attn_z.{layer}"].module
    weight = held(projection.weight).detach()
    rows = weight if isinstance(projection, Conv1D) else weight.T
    return rows.unflatten(0, (model.dims.heads, -1))
