"""One tiny random model per Hugging Face family, made from a configuration on the spot: no network, no files.

Every parameter is random, gains and biases too: with fresh ones and zeros a forgotten gain would go unnoticed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from specimens.tiny_rows import ROWS, Row

_TEXT = """Question: Ann has 12 apples and buys 7 more. How many apples does she have now?
Let's think step by step
Ann starts with 12 apples. She buys 7 more, so she has 12 + 7 = 19 apples.
The answer is 19.

Question: A box holds 24 pens. Tom gives away 6 and loses 3. How many pens are left in the box?
Let's think step by step
Tom gives away 6 pens, so 24 - 6 = 18 pens are left. He loses 3, so 18 - 3 = 15 pens are left.
The answer is 15.
"""


@dataclass(frozen=True)
class Shape:
    """Sizes of a tiny model, in one family's words or another's."""

    layers: int = 3
    d_model: int = 32
    d_mlp: int = 48
    heads: int = 4
    kv_heads: int = 2
    vocab: int = 320
    context: int = 128


_LLAMA_NAMES = {
    "layers": "num_hidden_layers",
    "d_model": "hidden_size",
    "d_mlp": "intermediate_size",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "vocab": "vocab_size",
    "context": "max_position_embeddings",
}

NAMES: tuple[str, ...] = tuple(ROWS)
"""The families there is a tiny model of."""

VARIANTS: dict[str, tuple[str, Mapping[str, Any]]] = {
    "opt-postnorm": ("opt", {"do_layer_norm_before": False, "word_embed_proj_dim": 16}),
    "gpt_neox-serial": ("gpt_neox", {"use_parallel_residual": False}),
    "falcon-serial": ("falcon", {"parallel_attn": False}),
    "falcon-grouped": ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "falcon-alibi": ("falcon", {"alibi": True}),
}
"""Checkpoints of some families are wired in another way: name -> family and configuration fields."""


def tiny_model(
    family: str, shape: Shape | None = None, *, seed: int = 0, dtype: torch.dtype = torch.float32, **extra: Any
) -> PreTrainedModel:
    """A random causal LM of one family or variant, the same for the same arguments, in evaluation mode.

    `extra`: configuration fields in the family's own words, over what the shape says. The global random state is
    left alone. Raises KeyError, naming the known ones, for an unknown family.
    """
    family, fields = VARIANTS.get(family, (family, {}))
    if family not in ROWS:
        raise KeyError(f"no tiny model of {family!r}; there is one of {', '.join((*NAMES, *VARIANTS))}")
    row = ROWS[family]
    shape = Shape() if shape is None else shape
    config = AutoConfig.for_model(row.model_type, **{**_sizes(row, shape), **row.extra, **fields, **extra})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        _randomise(model)
    return model.to(dtype).eval()


def _sizes(row: Row, shape: Shape) -> dict[str, Any]:
    names = {**_LLAMA_NAMES, **row.names}
    sizes: dict[str, Any] = {name: getattr(shape, size) for size, name in names.items() if name}
    cycles = {name: [values[i % len(values)] for i in range(shape.layers)] for name, values in row.cycle.items()}
    return {**sizes, **cycles, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def _randomise(model: PreTrainedModel) -> None:
    """Weights of a size that keeps activations near 1, gains and biases a little off where they start."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
            else:
                parameter.copy_(torch.randn_like(parameter) * 0.15)


@cache
def tiny_tokenizer(vocab: int = 320) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on a few lines of own text. Ids 0, 1, 2: padding, start, end of text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([_TEXT], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", padding_side="right"
    )


def save(family: str, folder: Path, shape: Shape | None = None, *, seed: int = 0, tokenizer: bool = True) -> Path:
    """Write a tiny model as a Hugging Face folder, with its tokenizer unless told otherwise."""
    model = tiny_model(family, shape, seed=seed)
    model.save_pretrained(folder)
    if tokenizer:
        tiny_tokenizer(model.config.vocab_size).save_pretrained(folder)
    return folder
