"""A KV cache that grows without copying itself at every token."""

from typing import Any

from torch import Tensor
from transformers import DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer

_ROOM = 128
"""Tokens to have room for beyond the present ones whenever a layer is moved to larger memory."""


class RoomyLayer(DynamicLayer):
    """Hugging Face's growing layer, writing new keys and values into spare room.

    The original concatenates, so that each new token copies all keys and values so far; over a long decoding that costs
    more than attention itself. What is stored and given back is the same.
    """

    _spare: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *_args: Any, **_kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append [b, heads, new, d_head] keys and values; returns all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        used = self.get_seq_length()
        end = used + key_states.shape[-2]
        if self._spare is None or end > self._spare[0].shape[-2]:
            self._spare = (_moved(self.keys, key_states, end), _moved(self.values, value_states, end))
        keys, values = self._spare
        keys[:, :, used:end] = key_states
        values[:, :, used:end] = value_states
        self.keys, self.values = keys[:, :, :end], values[:, :, :end]
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Go on with only these rows."""
        super().batch_select_indices(indices)
        self._spare = None


def _moved(old: Tensor | None, new: Tensor, end: int) -> Tensor:
    """Memory for `end` tokens and some more, holding what `old` holds."""
    larger = new.new_empty(*new.shape[:-2], end + _ROOM, new.shape[-1])
    if old is not None and old.numel():
        larger[:, :, : old.shape[-2]] = old
    return larger


def keep_rows(cache: DynamicCache, index: Tensor) -> None:
    """Go on with only these rows [b], also in the states of linear attention, which have no method for it."""
    for layer in cache.layers:
        if isinstance(layer, DynamicLayer):
            layer.batch_select_indices(index)
        for states in (getattr(layer, "conv_states", None) or {}, getattr(layer, "recurrent_states", None) or {}):
            states.update({i: state[index.to(state.device)] for i, state in states.items() if state is not None})


def roomy_cache(config: PreTrainedConfig) -> DynamicCache:
    """The model's own dynamic cache, its plain growing layers exchanged for roomy ones."""
    cache = DynamicCache(config=config)
    cache.layers = [RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
