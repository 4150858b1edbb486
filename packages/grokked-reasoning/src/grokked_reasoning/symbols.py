"""Which token of a model is which string of a data folder's vocabulary.

Our own models have just these strings. Those of the original code add them to GPT-2's tokenizer, and pad the number of
tokens to a multiple of 8.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Int
from runkit.errors import UsageError
from transformers import AutoConfig, AutoTokenizer

from grokked_reasoning import places
from grokked_reasoning.checkpoints import Checkpoint
from grokked_reasoning.dataset import Data, Rows

GPT2_TOKENS = 50257
_TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "added_tokens.json")


def ids(checkpoint: Checkpoint, read: Data) -> Int[np.ndarray, " V"]:
    """The model's id of every string of vocab.json.

    A model of as many tokens has them in that order; of a larger one the folder's own tokenizer tells; without a
    tokenizer they come after GPT-2's own tokens.

    Raises:
        UsageError: the model does not have the data's tokens.
    """
    size, count = (
        AutoConfig.from_pretrained(checkpoint.folder, trust_remote_code=False).vocab_size,
        len(read.vocabulary),
    )
    if size > count and any((checkpoint.folder / name).is_file() for name in _TOKENIZERS):
        return _told(checkpoint.folder, read, size)
    if GPT2_TOKENS + count <= size < GPT2_TOKENS + count + 8:
        return np.arange(count) + GPT2_TOKENS
    places.check_vocabulary(checkpoint, read)
    return np.arange(count)


def mapped(rows: Rows, symbols: Int[np.ndarray, " V"]) -> Rows:
    """The rows with the model's ids in place of the data's."""
    return replace(rows, ids=symbols[rows.ids])


def _told(folder: Path, read: Data, size: int) -> Int[np.ndarray, " V"]:
    """What the folder's tokenizer says."""
    known = AutoTokenizer.from_pretrained(folder, trust_remote_code=False).get_vocab()
    if unknown := [each for each in read.vocabulary.strings if known.get(each, size) >= size]:
        raise UsageError(
            f"{folder} was not trained on --data {read.folder}: its tokenizer does not know {unknown[0]!r}"
            f" ({len(unknown)} of {len(read.vocabulary)} strings of vocab.json): name the data folder of that run"
        )
    return np.array([known[each] for each in read.vocabulary.strings])
