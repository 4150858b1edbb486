"""What a store is of, so that another model, other settings or other data are noticed."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
import xxhash
from torch import Tensor, nn

from actkit.model import Model

_SAMPLED = 64
_BY_THE_WAY = (
    "_name_or_path",
    "transformers_version",
    "architectures",
    "use_cache",
    "output_hidden_states",
    "output_attentions",
)
"""Fields of a configuration that do not change what the model computes."""


def identity(model: Model) -> dict[str, str]:
    """Family, dtype, digest of the configuration, and a fingerprint of the weights.

    The fingerprint covers every parameter's name and shape and up to 64 of its values, evenly spread. It does not
    depend on where the weights are.
    """
    config = model.hf.config.to_dict()
    kept = {key: value for key, value in config.items() if key not in _BY_THE_WAY}
    weights = xxhash.xxh3_128()
    for name, weight in _weights(model.hf):
        flat = weight.detach().reshape(-1)
        step = max(1, len(flat) // _SAMPLED)
        sample = flat[::step][:_SAMPLED].cpu().contiguous().view(torch.uint8)
        weights.update(f"{name} {list(weight.shape)}".encode() + sample.numpy().tobytes())
    return {
        "family": model.family.name,
        "dtype": str(model.hf.dtype).removeprefix("torch."),
        "config": xxhash.xxh3_128_hexdigest(repr(_sorted(kept)).encode()),
        "weights": weights.hexdigest(),
    }


def _weights(hf: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every parameter once, also those accelerate keeps elsewhere."""
    seen: set[int] = set()
    for path, module in hf.named_modules():
        for name, weight in module.named_parameters(recurse=False):
            elsewhere = getattr(getattr(module, "_hf_hook", None), "weights_map", None)
            if id(weight) not in seen:
                seen.add(id(weight))
                yield f"{path}.{name}", weight if elsewhere is None or not weight.is_meta else elsewhere[name]


def _sorted(value: Any) -> Any:
    """The same content always spelled alike."""
    if isinstance(value, Mapping):
        return sorted((str(key), _sorted(item)) for key, item in value.items())
    return [_sorted(item) for item in value] if isinstance(value, list | tuple) else str(value)


def differences(stored: Any, asked: Any, path: str = "") -> list[str]:
    """Where two settings differ, one line each."""
    if isinstance(stored, Mapping) and isinstance(asked, Mapping):
        keys = dict.fromkeys([*stored, *asked])
        return [
            line for key in keys for line in differences(stored.get(key), asked.get(key), f"{path}.{key}".strip("."))
        ]
    return [] if stored == asked else [f"{path}: {_short(stored)} in the store, {_short(asked)} asked for"]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else text[:200] + "…"
