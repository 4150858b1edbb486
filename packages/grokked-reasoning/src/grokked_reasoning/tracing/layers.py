"""States and what is read from them, shared by the lens and causal tracing."""

from typing import Any

import actkit
import numpy as np
import torch
from actkit import Model
from actkit.batch import Batch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import GPT2Config, PreTrainedModel

from grokked_reasoning.modeling import LoopedGPT2Config


def opened(hf: PreTrainedModel, *, dtype: str = "auto") -> Model:
    """A model as actkit looks into it; a looped one as the GPT-2 of blocks x loops layers that it is.

    `dtype`: what it is put into; "auto" leaves it.
    Raises actkit's errors for a model that cannot be looked into.
    """
    if not isinstance(hf.config, LoopedGPT2Config):
        return actkit.load(hf, dtype=dtype)
    config: Any = hf.config
    own, config.model_type = config.model_type, GPT2Config.model_type
    try:
        return actkit.load(hf, dtype=dtype)
    finally:
        config.model_type = own


def state(model: Model, layer: int) -> str:
    """The site of S[layer, .]: the residual stream after so many blocks, 0 being the embeddings."""
    last = model.dims.layers
    return f"resid_pre.{layer}" if layer < last else f"resid_post.{last - 1}"


def batch(model: Model, prompts: Int[np.ndarray, "n T"]) -> Batch:
    """Prompts of one length, on the model's device."""
    ids = torch.as_tensor(prompts)
    return Batch(ids, torch.ones_like(ids)).to(model.device)


def ranks(logits: Float[Tensor, "n V"], targets: Int[Tensor, "n K"]) -> Int[Tensor, "n K"]:
    """How many tokens of the whole vocabulary have a larger logit than each target."""
    wanted = logits.gather(-1, targets)
    return torch.stack([(logits > column[:, None]).sum(-1) for column in wanted.unbind(-1)], dim=-1)
