"""Queries, keys, values and patterns, seen and changed where Hugging Face hands them to its attention function.

Its models look that function up by name at every call, in the public AttentionInterface. While a probe asks for such a
site the model's configuration names ours instead, which gives the call on to the very function the model would have
used. In the layers whose pattern is asked for it also calls the family's own eager function, because no other one
computes a pattern: soft caps, sinks and windows are therefore the family's own. What attention gives back stays the
first function's, bit for bit; an edited pattern adds to it what it changes.
"""

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedConfig
from transformers.masking_utils import eager_mask, sdpa_mask

from actkit.current import PROBE, held
from actkit.errors import ActkitError, EditError

if TYPE_CHECKING:
    from actkit.hooks import Layout, Probe
    from actkit.sites import Site

KINDS = ("attn_q", "attn_k", "attn_v", "attn_pattern")
_PREFIX = "actkit_"


def kinds_of(attention: nn.Module) -> tuple[str, ...]:
    """The sites this attention module can give: all four when it goes through the AttentionInterface, else none."""
    code = getattr(inspect.unwrap(type(attention).forward), "__code__", None)
    looks_up = code is not None and "ALL_ATTENTION_FUNCTIONS" in code.co_names
    return KINDS if looks_up and hasattr(_modeling(attention), "eager_attention_forward") else ()


def _modeling(attention: nn.Module) -> Any:
    """The modelling module whose functions this attention calls."""
    return sys.modules[inspect.unwrap(type(attention).forward).__module__]


@contextmanager
def redirected(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Attention of these modules' models goes through `_attend`; their configurations are as before afterwards."""
    configs: dict[int, Any] = {id(module.config): module.config for module in modules}  # pyright: ignore[reportAttributeAccessIssue]
    with ExitStack() as stack:
        for key, config in configs.items():
            stack.enter_context(held((key, "attention"), partial(_redirect, config)))
        yield


def _redirect(config: PreTrainedConfig) -> Callable[[], None]:
    name = config._attn_implementation
    if name not in ("sdpa", "eager"):
        raise ActkitError(
            f"The model's attention is {name!r}, which does not give its insides.",
            "Load it with attn_implementation='sdpa' (or call hf.set_attn_implementation('sdpa')).",
        )
    config._attn_implementation_internal = _PREFIX + name  # pyright: ignore[reportAttributeAccessIssue]

    def undo() -> None:
        config._attn_implementation_internal = name  # pyright: ignore[reportAttributeAccessIssue]

    return undo


def _attend(
    base: str,
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, Tensor | None]:
    """What Hugging Face calls: query [b, H, t, d], keys and values [b, KV, T, d], T counting the cached ones too."""
    call = partial(_function(module, base), module)
    probe = PROBE.get()
    asked = probe.inside.get(module) if probe else None
    if probe is None or asked is None:
        return call(query, key, value, attention_mask, **options)
    query = _visited(probe, asked.get("attn_q"), query, query)
    key = _visited(probe, asked.get("attn_k"), key, query)
    value = _visited(probe, asked.get("attn_v"), value, query)
    out, weights = call(query, key, value, attention_mask, **options)
    if "attn_pattern" not in asked:
        return out, weights
    if base != "eager":
        mask = _additive(attention_mask, query, key)
        weights = _function(module, "eager")(module, query, key, value, mask, **options)[1]
    new = _pattern(probe, asked["attn_pattern"], weights)
    return _corrected(probe, out, weights, new, value), new


def _corrected(probe: "Probe", out: Tensor, weights: Tensor, new: Tensor, value: Tensor) -> Tensor:
    """Attention's output [b, t, H, d] and what the edited weights add to it, exactly 0 where nothing was changed."""
    if new is weights:
        return out
    wide = value.repeat_interleave(weights.shape[1] // value.shape[1], dim=1)
    before = (weights.detach() @ wide.detach()).transpose(1, 2)
    assert probe.layout is not None, "a probe needs a layout before each forward pass"
    real = (probe.layout.positions >= 0).to(out.device)
    given = out.detach().view_as(before)[real]
    rounding = 0.05 if out.dtype.itemsize == 2 else 1e-3
    if float((before[real] - given).abs().max()) > rounding * float(given.abs().max()):
        raise EditError("Here attention does more with its pattern than mix values by it: no edits, no gradients.")
    if torch.is_grad_enabled():
        # Gradients must pass through the pattern that was captured, and through nothing a second time.
        return out.detach() + ((new @ wide).transpose(1, 2) - before)
    return out + ((new - weights) @ wide).transpose(1, 2)


def _function(module: nn.Module, name: str) -> Callable[..., Any]:
    """The attention function the model itself would have called under this name."""
    modeling = _modeling(module)
    return modeling.ALL_ATTENTION_FUNCTIONS.get_interface(name, modeling.eager_attention_forward)


def _visited(probe: "Probe", site: "Site | None", x: Tensor, query: Tensor) -> Tensor:
    """`x` [b, heads, T, d] after the site's edits, which see the present tokens only: the last t of T."""
    if site is None:
        return x
    present = x[:, :, x.shape[2] - query.shape[2] :].transpose(1, 2)
    new = probe.through(site, present)
    if new is present:
        return x
    if probe.decoding and x is not query:
        # Later tokens must read the edited values, so they go into the key-value cache's own memory.
        if not probe.cached(x):
            raise EditError(f"{site.name} is a copy of what is cached, so an edit would be lost for later tokens.")
        present.copy_(new)
        return x
    return new.transpose(1, 2).to(x)


def _additive(mask: Tensor | None, query: Tensor, key: Tensor) -> Tensor | None:
    """The mask as eager attention takes it: 0 where a query may look, the lowest number where not."""
    t, width = query.shape[2], key.shape[2]
    if mask is None:
        if t == 1:
            return None
        # sdpa is called without a mask only when plain causality over these very tokens is all there is to it.
        mask = torch.ones(t, width, dtype=torch.bool, device=query.device).tril(width - t)[None, None]
    if mask.dtype != torch.bool:
        return mask
    # Eager attention's softmax is float32: float64's lowest number would be -inf there, and padded rows NaN.
    lowest = torch.finfo(torch.float32 if query.dtype == torch.float64 else query.dtype).min
    return torch.zeros(mask.shape, dtype=query.dtype, device=mask.device).masked_fill(~mask, lowest)


def _pattern(probe: "Probe", site: "Site", weights: Tensor) -> Tensor:
    """Weights [b, H, t, T] after the site's edits. The very same tensor where there are none."""
    assert probe.layout is not None, "a probe needs a layout before each forward pass"
    seen = weights.transpose(1, 2)
    if probe.layout.even:
        new = probe.through(site, seen)
        return weights if new is seen else new.transpose(1, 2)
    slots, real = _slots(probe.layout, weights.shape[-1], weights.device)
    aligned = _take(seen, slots)
    new = probe.through(site, aligned)
    if new is aligned and not torch.is_grad_enabled():
        return weights
    return torch.where((real >= 0)[:, None, None], _take(new, real), seen).transpose(1, 2)


def _slots(layout: "Layout", width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """[b, T'] key slot of each real token (-1: none), and [b, T] real token of each key slot (-1: padding before it).

    T' counts every slot so far; fewer keys than that are the newest ones, in the cache of a sliding window.
    """
    t = layout.positions.shape[1]
    total = layout.start + t
    here = torch.arange(layout.start, total, device=layout.positions.device)
    before = torch.where(layout.positions >= 0, here - layout.positions, 0).amax(-1).to(device)
    shift = before - (total - width)
    slots = torch.arange(total, device=device) + shift[:, None]
    real = torch.arange(width, device=device) - shift[:, None]
    return slots.masked_fill((slots < 0) | (slots >= width), -1), real


def _take(x: Tensor, index: Tensor) -> Tensor:
    """x [b, t, H, T] with its last axis taken at `index` [b, n]; 0 where that is -1."""
    wide = index.clamp(0, x.shape[-1] - 1)[:, None, None].expand(*x.shape[:-1], -1)
    return x.gather(-1, wide).masked_fill((index < 0)[:, None, None], 0)


for _name, _mask in (("sdpa", sdpa_mask), ("eager", eager_mask)):
    AttentionInterface.register(_PREFIX + _name, partial(_attend, _name))
    AttentionMaskInterface.register(_PREFIX + _name, _mask)
