"""What a causal language model makes of texts, told by the logits of a few ids of its vocabulary."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

_PAD = 0  # any id: padding stands on the right, where a causal model cannot see it, and is masked


def narrow(lm: PreTrainedModel, ids: Sequence[int]) -> nn.Module:
    """Give the model a head of these ids' rows alone, and return the head it had.

    The model's own forward goes on to do whatever it does to logits (scales, soft caps), but [B, T, vocabulary] numbers
    are never made.
    """
    head: Any = lm.get_output_embeddings()
    bias = getattr(head, "bias", None)
    few = nn.Linear(head.weight.shape[1], len(ids), bias is not None, head.weight.device, head.weight.dtype)
    with torch.no_grad():
        few.weight.copy_(head.weight[list(ids)])
        if bias is not None:
            few.bias.copy_(bias[list(ids)])
    lm.set_output_embeddings(few.requires_grad_(False))
    return head


def logits(lm: nn.Module, rows: Sequence[Sequence[int]]) -> Float[Tensor, "B T C"]:
    """Logits of the ids that the model was narrowed to, at every token of rows of different lengths.

    Padding is on the right, so that each row's positions are those it has alone.
    """
    device, width = next(lm.parameters()).device, max(map(len, rows))
    ids = torch.tensor([[*row, *[_PAD] * (width - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return lm(input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False).logits


def expected(given: Float[Tensor, "*b C"]) -> Float[Tensor, "*b"]:
    """The expectation of the classes 0, 1, ... under these logits."""
    shares = given.float().softmax(-1)
    return shares @ torch.arange(shares.shape[-1], device=shares.device, dtype=shares.dtype)
