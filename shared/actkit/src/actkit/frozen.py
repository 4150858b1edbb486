"""Norms and projections as the linear maps they are at one input, so that a direction can be pulled back through them.

A norm is linear once its scale is held at the value it had (Elhage et al. 2021, "A Mathematical Framework for
Transformer Circuits", on LayerNorm). What it does is found by running it, not by its name or its fields.
"""

from collections.abc import Callable, Iterable
from itertools import chain, product
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from actkit.model import held

Back = Callable[[Tensor], Tensor]


class Norm(NamedTuple):
    """c -> scale * gain * (c - mean of c, if `centred`) + shift, B inputs' own scales."""

    gain: Float[Tensor, " D"]
    scale: Float[Tensor, "B 1"]
    centred: bool
    shift: Float[Tensor, " D"]

    def __call__(self, c: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        return self.scale * self.gain * _centred(c, self.centred) + self.shift

    def back(self, direction: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """The direction whose product with an input is that of `direction` with the output, the shift left out."""
        return self.scale * _centred(self.gain * direction, self.centred)


def frozen(norm: nn.Module, x: Float[Tensor, "B D"]) -> Norm | None:
    """The norm as it was at `x`; None for anything but LayerNorm and RMSNorm, of gain `weight` or `1 + weight`."""
    out = exactly(norm, x)
    weight = getattr(norm, "weight", None)
    weight = torch.ones_like(x[0]) if weight is None else held(weight).to(x)
    bias = getattr(norm, "bias", None)
    shift = torch.zeros_like(weight) if bias is None else held(bias).to(x)
    for plus, centred in product((0.0, 1.0), (False, True)):
        unscaled = (weight + plus) * _centred(x, centred)
        # The scale that fits best; it fits exactly when gain and centring are the norm's own.
        scale = ((out - shift) * unscaled).sum(-1, keepdim=True) / unscaled.square().sum(-1, keepdim=True)
        found = Norm(weight + plus, scale, centred, shift)
        if near(found(x), out, out.norm(), torch.float32):
            return found
    return None


def scaled_back(
    module: nn.Module | Callable[[Tensor], Tensor], x: Tensor, direction: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """A linear map's output at `x`, and what `direction` (default: 1) in its output becomes in its input space."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        out = exactly(module, x) if isinstance(module, nn.Module) else module(x)
        along = torch.ones_like(out) if direction is None else direction.to(out)
        (back,) = torch.autograd.grad(out, x, along)
    return out.detach(), back


def exactly(module: nn.Module, x: Tensor) -> Tensor:
    """The module's output computed in the dtype of `x`, whatever the dtype of its weights."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    weights = {name: held(w).to(x) if w.is_floating_point() else w for name, w in tensors.items()}
    return functional_call(module, weights, (x,))


def branch(
    block: nn.Module, out: Float[Tensor, "B D"], written: Float[Tensor, "B D"], size: Tensor, dtype: torch.dtype
) -> Back | None:
    """How a part's output became what was written to the stream: a function that pulls directions back, or None.

    As it is or through one of the block's own norms, times one number. `size`: the norm of the stream, whose rounding
    in `dtype` the difference `written` carries.
    """
    fits = (fit for norm in _norms(block, out.shape[-1]) if (fit := frozen(norm, out)) is not None)
    for back, after in chain([(_same, out)], ((fit.back, fit(out)) for fit in fits)):
        factor = (after * written).sum() / after.square().sum().clamp(min=torch.finfo(out.dtype).tiny)
        if near(factor * after, written, size, dtype):
            return lambda direction, back=back, factor=factor: factor * back(direction)
    return None


def _same(direction: Tensor) -> Tensor:
    return direction


def near(a: Tensor, b: Tensor, size: Tensor, dtype: torch.dtype) -> bool:
    """Equal within the rounding, in `dtype`, of numbers whose norm is `size`."""
    return bool((a - b).norm() <= 16 * torch.finfo(dtype).eps * size)


def _norms(block: nn.Module, width: int) -> Iterable[nn.Module]:
    return (m for m in block.modules() if getattr(getattr(m, "weight", None), "shape", None) == (width,))


def _centred(c: Tensor, centred: bool) -> Tensor:
    return c - c.mean(-1, keepdim=True) if centred else c
