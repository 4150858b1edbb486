"""The models that are trained here: GPT-2 of Hugging Face, or the same with its blocks run several times."""

import json
from pathlib import Path
from typing import Any

import torch
from actkit.loading import SAFE, quiet_unless_watched, refuse_pickles
from runkit.errors import UsageError
from transformers import AutoConfig, AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, PreTrainedModel

from grokked_reasoning.modeling.looped import LoopedGPT2Config, LoopedGPT2LMHeadModel

AutoConfig.register(LoopedGPT2Config.model_type, LoopedGPT2Config)
AutoModelForCausalLM.register(LoopedGPT2Config, LoopedGPT2LMHeadModel)
# A checkpoint carries the file that defines the model, so `trust_remote_code=True` loads it without this package.
LoopedGPT2Config.register_for_auto_class()
LoopedGPT2LMHeadModel.register_for_auto_class("AutoModelForCausalLM")

__all__ = ["LoopedGPT2Config", "LoopedGPT2LMHeadModel", "build", "load"]


def build(
    vocab: int, *, layers: int, width: int, heads: int, positions: int, loops: int = 1, dropout: float = 0.1
) -> PreTrainedModel:
    """An untrained model: GPT-2's shape and initialisation (Wang et al. 2024, section 3.1), tied embeddings.

    GELU is the tanh form that GPT-2 has, in the one kernel that PyTorch has for it. Raises UsageError where the heads
    do not divide the width.
    """
    if width % heads:
        raise UsageError(f"--width {width} is not a multiple of --heads {heads}: every head is width/heads wide")
    shape: dict[str, Any] = {
        "vocab_size": vocab,
        "n_embd": width,
        "n_head": heads,
        "n_positions": positions,
        "attn_pdrop": dropout,
        "embd_pdrop": dropout,
        "resid_pdrop": dropout,
        "activation_function": "gelu_pytorch_tanh",
        "bos_token_id": None,
        "eos_token_id": None,
    }
    if loops == 1:
        return GPT2LMHeadModel(GPT2Config(n_layer=layers, **shape))
    return LoopedGPT2LMHeadModel(LoopedGPT2Config(blocks=layers, loops=loops, **shape))


def load(folder: Path, *, loops: int | None = None, device: str | torch.device = "cpu") -> PreTrainedModel:
    """A checkpoint in evaluation mode; the original code's recurrent ones (`add_recurrence`) as looped models.

    `loops`: run a looped model's blocks so often instead. Raises UsageError for loops that a plain model cannot have,
    actkit's LoadError for weights that are a pickle.
    """
    refuse_pickles(folder)
    facts = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if facts.get("add_recurrence"):
        config: Any = LoopedGPT2Config.from_pretrained(folder, blocks=facts["n_layer"], loops=loops or 2)
    else:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        if loops is not None:
            _set_loops(config, loops, folder)
    kind: Any = LoopedGPT2LMHeadModel if isinstance(config, LoopedGPT2Config) else AutoModelForCausalLM
    with quiet_unless_watched():
        return kind.from_pretrained(folder, config=config, **SAFE).to(device).eval()


def _set_loops(config: Any, loops: int, folder: Path) -> None:
    if isinstance(config, LoopedGPT2Config):
        config.loops = loops
    elif loops != 1:
        raise UsageError(f"--loops {loops}: {folder.name} is a plain {config.model_type}, whose blocks run once")
