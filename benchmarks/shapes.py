"""Models of the sizes that benchmarks speak of: random weights, made where they are to run.

`shapes.py SHAPE FOLDER` writes one as a checkpoint.
"""

import sys
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

_LLAMA_8B = {
    "vocab_size": 128256,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
    "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0},
}
_TINY = {
    "vocab_size": 512,
    "hidden_size": 128,
    "intermediate_size": 344,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
_TWELVE = {
    "vocab_size": 32000,
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_hidden_layers": 12,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 512,
}
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "tiny": ("llama", _TINY),
    "llama-12": ("llama", _TWELVE),
    "gpt2-small": ("gpt2", {}),  # the defaults are GPT-2 small: 12 blocks of 768, 50257 tokens
    "llama-3.1-8b": ("llama", _LLAMA_8B),
}
"""Name -> model type and configuration."""


def random_model(shape: str, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A model of that shape with Hugging Face's own initial weights, seeded, in evaluation mode."""
    model_type, sizes = SHAPES[shape]
    torch.manual_seed(0)
    with torch.device(device):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **sizes), dtype=dtype).eval()


def random_ids(model: PreTrainedModel, rows: int, tokens: int) -> torch.Tensor:
    """[rows, tokens] ids, seeded, on the model's device."""
    drawn = torch.randint(3, model.config.vocab_size, (rows, tokens), generator=torch.Generator().manual_seed(0))
    return drawn.to(model.device)


if __name__ == "__main__":
    random_model(sys.argv[1]).save_pretrained(sys.argv[2])
