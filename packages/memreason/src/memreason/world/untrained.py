"""The untrained model of a world: a small Llama that knows its words and nothing else."""

from collections.abc import Sequence
from pathlib import Path

import torch
from runkit.errors import UsageError
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from memreason.arms import STEP
from memreason.options import ToyOptions
from memreason.scheme import ANSWER, GENERAL, MARKER
from memreason.trace import KINDS

CONTEXT = 256
_UNK, _PAD, _BOS, _EOS = SPECIAL = ("<unk>", "<pad>", "<bos>", "<eos>")
_FRAME = ("\n", "Question:", *MARKER.split(), *(f"[{kind}]" for kind in KINDS))
_KIND_WORDS = (GENERAL, STEP, *KINDS, ANSWER, "plan")
"""Words that the rows of new tokens start from."""


def save(folder: Path, words: Sequence[str], options: ToyOptions) -> int:
    """Write the model and its tokenizer as a Hugging Face folder. Returns the number of parameters.

    Raises:
        UsageError: a width that cannot be shared by the heads.
    """
    if options.width % (2 * options.heads):
        raise UsageError(
            f"--width {options.width}: give a multiple of {2 * options.heads}, twice the --heads {options.heads}"
        )
    told = tokenizer(words)
    lm = model(len(told), options)
    lm.save_pretrained(folder)
    told.save_pretrained(folder)
    return lm.num_parameters()


def tokenizer(words: Sequence[str]) -> PreTrainedTokenizerFast:
    """One token per word; a newline is a token."""
    known = dict.fromkeys([*SPECIAL, *_FRAME, *_KIND_WORDS, *words])
    bare = Tokenizer(models.WordLevel({word: number for number, word in enumerate(known)}, unk_token=_UNK))
    bare.pre_tokenizer = pre_tokenizers.Split(Regex(r"\n|[^ \n]+"), behavior="removed", invert=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=bare, unk_token=_UNK, pad_token=_PAD, bos_token=_BOS, eos_token=_EOS,
        model_max_length=CONTEXT, clean_up_tokenization_spaces=False,
    )  # fmt: skip


def model(rows: int, options: ToyOptions) -> LlamaForCausalLM:
    """A Llama with random weights, head and embedding apart."""
    _, pad, bos, eos = range(len(SPECIAL))
    config = LlamaConfig(
        vocab_size=rows, hidden_size=options.width, intermediate_size=2 * options.width,
        num_hidden_layers=options.layers, num_attention_heads=options.heads, num_key_value_heads=options.heads,
        max_position_embeddings=CONTEXT, tie_word_embeddings=False, pad_token_id=pad, bos_token_id=bos,
        eos_token_id=eos,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        return LlamaForCausalLM(config)
