"""Series of checkpoints whose neurons' courses are known, and what plain Hugging Face says of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from grokked_reasoning import modeling
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

WORDS = ["<pad>", "<bos>", "a", "b", "c", "d", "e", "f"]


def facts_model(seed: int, tokens: int, **shape: Any) -> PreTrainedModel:
    """A random GPT-2 whose neurons are far from linear and, without biases, fire high and low."""
    torch.manual_seed(seed)
    sizes = {"layers": 2, "width": 16, "heads": 2, "positions": 8, "dropout": 0.0, **shape}
    model = modeling.build(tokens, **sizes)
    for name, each in model.named_parameters():
        each.data = torch.randn_like(each) * (0 if name.endswith("bias") else 0.7)
    return model.eval()


def text_model(seed: int, neurons: int = 12) -> PreTrainedModel:
    torch.manual_seed(seed)
    shape = {"hidden_size": 8, "intermediate_size": neurons, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"bos_token_id": 1, "eos_token_id": None, "pad_token_id": 0}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(WORDS), max_position_embeddings=16, **shape, **ends))
    for each in model.parameters():
        each.data = torch.randn_like(each) * 0.7
    return model.eval()


def tokenizer(words: list[str]) -> PreTrainedTokenizerFast:
    """Words at spaces, <bos> before every text."""
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<pad>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", words.index("<bos>"))]
    )
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<bos>", pad_token="<pad>")


def saved(model: PreTrainedModel, place: Path, step: int, vocabulary: Path | None = None) -> None:
    model.save_pretrained(place / f"checkpoint-{step}")
    if vocabulary is not None:
        (place / f"checkpoint-{step}" / "vocab.json").write_bytes(vocabulary.read_bytes())


@torch.no_grad()
def activations(folder: Path, rows: list[list[int]], skip: int = 0) -> list[np.ndarray]:
    """Of every layer [tokens, neurons]: what goes into the down projection, row by row, without padding; the first
    `skip` tokens of a row are left out."""
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    downs = [each for name, each in model.named_modules() if name.endswith(("mlp.c_proj", "mlp.down_proj"))]
    found: list[list[np.ndarray]] = [[] for _ in downs]

    def keep(into: list[np.ndarray]) -> Callable[[Any, tuple[torch.Tensor]], None]:
        return lambda _, given: into.append(given[0][0, skip:].double().numpy())

    for down, into in zip(downs, found, strict=True):
        down.register_forward_pre_hook(keep(into))
    for row in rows:
        model(torch.tensor([row]))
    return [np.concatenate(each) for each in found]


def correlations(x: np.ndarray, y: np.ndarray, sign: int) -> np.ndarray:
    """[neurons, neurons]: of each neuron of x with each of y, as a polarity has them; NaN where one is always 0."""
    own, other = (np.maximum(sign * each, 0) for each in (x, y))
    with np.errstate(invalid="ignore"):
        return np.corrcoef(own.T, other.T)[: own.shape[1], own.shape[1] :]
