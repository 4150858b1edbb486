"""A model whose weights are set by hand, so that which neuron does what is known and not inferred.

How it works. It is a plain Llama whose attention is zero, so every token is treated alone. With V words in the
vocabulary, a residual stream has three parts:

    [ which token this is: V one-hot | what to say next: V | one large constant ]

- The embedding writes the first part, the constant, and into the second part a vote for the token's successor in the
  story (STORY_VOTE). The head reads the second part only. So without any neuron the model recites its story.
- The constant outweighs all else, so every RMS norm divides by nearly the same number, and sizes stay known
  (to about 1e-4): a plant of size s and sign g has activation g * s on its tokens, and exactly 0 elsewhere.
- A planted neuron's gate reads the one-hot entries of the tokens it fires on, its up projection reads the constant with
  the wanted sign and size, and its value vector lies in the second part: it votes for the promoted tokens, the first
  the most. A neuron of sign -1 holds the opposite value vector, so that what it does when it fires is the same:
  `promotes` is what m * v promotes.
- All other neurons are dead: activation and value vector are exactly zero, unless `background` gives them random ones.

Where a plant's vote (size times 1, 0.9, 0.8, ...) is below STORY_VOTE the story goes on; above it, the plant decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

STORY_VOTE = 8.0
"""How strongly a token's embedding votes for its successor in the story."""

_CONSTANT = 1000.0
_GATE = 4.0
"""What a planted neuron's gate sees before its activation function when it fires."""


@dataclass(frozen=True)
class Plant:
    """One neuron whose job is known. Tokens are written as text, a leading space included (" =")."""

    layer: int
    neuron: int
    fires_on: tuple[str, ...]
    promotes: tuple[str, ...]
    """Tokens its firing pushes up, the strongest first."""
    sign: int = 1
    """Sign of its activation when it fires."""
    size: float = 2.0
    """Absolute activation when it fires."""

    @property
    def activation(self) -> float:
        """Its activation on the tokens it fires on."""
        return self.sign * self.size

    @property
    def weights(self) -> list[float]:
        """Entries of its value vector on the promoted tokens."""
        return [self.sign * (1.0 - 0.1 * i) for i in range(len(self.promotes))]


PROMPT = "Question: Ann has 2 apples and gets 3 more. How many apples are there?\nLet's think step by step\n"
CHAIN = "2 apples and three more make 2 + 3 = 5 fruits.\nThe answer is 5."
"""What the model says after any prompt that ends like PROMPT. No token here has two successors."""

PLANTS: tuple[Plant, ...] = (
    Plant(0, 3, fires_on=(" +",), promotes=(" plus", " sum", " add"), size=3.0),
    Plant(1, 5, fires_on=(" =",), promotes=(" 5", " equals"), size=2.5),
    Plant(1, 9, fires_on=(" make", " is"), promotes=(" total", " result"), sign=-1, size=2.0),
    Plant(2, 0, fires_on=(" 5", " 5."), promotes=("The", " answer", " so"), sign=-1, size=1.5),
    Plant(3, 7, fires_on=("2", " 3"), promotes=(" apples", " fruits.\n"), size=1.0),
)


def tokenizer(plants: Sequence[Plant] = PLANTS, prompt: str = PROMPT, chain: str = CHAIN) -> PreTrainedTokenizerFast:
    """A word-level tokenizer of the story's and plants' words.

    A word takes its leading space and trailing line end along, so decoding gives back the very text.
    Ids 0, 1, 2: padding, unknown, end of text.
    """
    words = [*_pieces(prompt), *_pieces(chain), *(w for p in plants for w in (*p.fires_on, *p.promotes))]
    vocab = {word: i for i, word in enumerate(dict.fromkeys(["<pad>", "<unk>", "</s>", *map(_spelled, words)]))}
    inner = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    inner.pre_tokenizer = _splitter()  # pyright: ignore[reportAttributeAccessIssue]
    inner.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>", eos_token="</s>")


def _splitter() -> pre_tokenizers.PreTokenizer:
    words = pre_tokenizers.Split(Regex(r" ?\S+\n?|\s"), behavior="isolated")
    return pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _pieces(text: str) -> list[str]:
    return [text[start:end] for _, (start, end) in _splitter().pre_tokenize_str(text)]


def _spelled(word: str) -> str:
    """A word in the tokenizer's own spelling: spaces and line ends as visible marks."""
    return "".join(piece for piece, _ in _splitter().pre_tokenize_str(word))


def planted_model(
    plants: Sequence[Plant] = PLANTS,
    *,
    prompt: str = PROMPT,
    chain: str = CHAIN,
    layers: int = 4,
    d_mlp: int = 16,
    background: float = 0.0,
    seed: int = 0,
) -> LlamaForCausalLM:
    """The model described above, in float32 and evaluation mode.

    `background`: standard deviation of the other neurons' random activations and value vector entries.
    Raises ValueError where a token of the chain would need two successors, or two plants share a neuron.
    """
    vocab = tokenizer(plants, prompt, chain).get_vocab()
    size = len(vocab)
    d_model = 8 * -(-(2 * size + 1) // 8)
    unit = _CONSTANT / d_model**0.5  # a norm divides by this
    config = LlamaConfig(
        vocab_size=size, hidden_size=d_model, intermediate_size=d_mlp, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=512, tie_word_embeddings=False,
        bos_token_id=None, eos_token_id=vocab["</s>"], pad_token_id=vocab["<pad>"],
    )  # fmt: skip
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        model: Any = LlamaForCausalLM(config).eval()
        for name, parameter in model.named_parameters():
            parameter.fill_(1.0 if "norm" in name else 0.0)
        embed = model.model.embed_tokens.weight
        embed[:, :size] = torch.eye(size)
        embed[:, 2 * size] = _CONSTANT
        for word, successor in _successors(prompt, chain).items():
            embed[vocab[word], size + vocab[successor]] = STORY_VOTE
        model.lm_head.weight[:, size : 2 * size] = torch.eye(size) * unit
        _scatter(model, size, background * unit, background)
        _plant(model, plants, vocab, unit)
    return model


def _successors(prompt: str, chain: str) -> dict[str, str]:
    """Spelled token -> the one that follows it in the chain, which ends the text."""
    words = [_spelled(word) for word in (_pieces(prompt)[-1], *_pieces(chain))] + ["</s>"]
    found: dict[str, str] = {}
    for word, successor in pairwise(words):
        if found.setdefault(word, successor) != successor:
            raise ValueError(f"the chain goes on from {word!r} both with {found[word]!r} and with {successor!r}")
    return found


def _plant(model: Any, plants: Sequence[Plant], vocab: dict[str, int], unit: float) -> None:
    if len({(plant.layer, plant.neuron) for plant in plants}) < len(plants):
        raise ValueError("two plants share a neuron")
    size = len(vocab)
    gate_out = float(torch.nn.functional.silu(torch.tensor(_GATE)))
    for plant in plants:
        mlp, i = model.model.layers[plant.layer].mlp, plant.neuron
        for row in (mlp.gate_proj.weight[i], mlp.up_proj.weight[i], mlp.down_proj.weight[:, i]):
            row.zero_()
        mlp.gate_proj.weight[i, [vocab[_spelled(word)] for word in plant.fires_on]] = _GATE * unit
        mlp.up_proj.weight[i, 2 * size] = plant.activation / gate_out * unit / _CONSTANT
        promoted = [size + vocab[_spelled(word)] for word in plant.promotes]
        mlp.down_proj.weight[promoted, i] = torch.tensor(plant.weights)


def _scatter(model: Any, size: int, reads: float, writes: float) -> None:
    """Random reading and writing of the two vocabulary parts by every neuron."""
    for layer in model.model.layers:
        _noise(layer.mlp.gate_proj.weight[:, :size], reads)
        _noise(layer.mlp.up_proj.weight[:, :size], reads)
        _noise(layer.mlp.down_proj.weight[size : 2 * size], writes)


def _noise(weight: Tensor, scale: float) -> None:
    weight.copy_(torch.randn_like(weight) * scale)


def save(folder: Path, plants: Sequence[Plant] = PLANTS, *, background: float = 0.0) -> Path:
    """Write the planted model and its tokenizer as a Hugging Face folder."""
    planted_model(plants, background=background).save_pretrained(folder)
    tokenizer(plants).save_pretrained(folder)
    return folder
