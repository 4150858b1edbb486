"""How an unknown model treats what comes later and what is padding, seen in a few short forwards over random ids."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor


def random_ids(hf: Any, tokens: int) -> Int[Tensor, "1 T"]:
    """Ids of the model's vocabulary, on its device; always the same."""
    embedding = hf.get_input_embeddings().weight
    ids = torch.randint(embedding.shape[0], (1, tokens), generator=torch.Generator().manual_seed(0))
    return ids.to(embedding.device)


def plain(hf: Any, ids: Int[Tensor, "1 T"], padding: int = 0) -> Float[Tensor, "T V"]:
    """Logits of Hugging Face's own forward over one row, whose first `padding` slots are masked."""
    mask = torch.ones_like(ids)
    mask[:, :padding] = 0
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    return hf(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).logits[0]


def is_causal(hf: Any, ids: Int[Tensor, "1 T"], logits: Float[Tensor, "T V"]) -> bool:
    """Whether another last token leaves the logits before it as they are."""
    changed = ids.clone()
    changed[0, -1] = (ids[0, -1] + 1) % hf.get_input_embeddings().weight.shape[0]
    return _alike(plain(hf, changed)[:-1], logits[:-1])


def minds_left_padding(hf: Any, ids: Int[Tensor, "1 T"], logits: Float[Tensor, "T V"]) -> bool:
    """Whether masked slots before a row change its logits."""
    padded = torch.cat([ids[:, -3:], ids], dim=-1)
    return not _alike(plain(hf, padded, padding=3)[3:], logits)


def _alike(a: Tensor, b: Tensor) -> bool:
    """Equal up to rounding."""
    slack = max(1e-4, 4 * torch.finfo(a.dtype).eps)
    return bool((a - b).double().norm() <= slack * b.double().norm())
