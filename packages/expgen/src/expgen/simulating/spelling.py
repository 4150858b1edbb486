"""Texts as tokens of a simulator, whatever they hold: nothing in them counts as a special token."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from runkit.errors import UsageError
from transformers import PreTrainedTokenizerBase


class Spelt(NamedTuple):
    """Token ids, and the characters that each stands for."""

    ids: list[int]
    spans: Int[np.ndarray, "S 2"]


class Speller:
    """A tokenizer that says which characters its tokens stand for. `begin`: what its texts begin with (BOS, or none).

    Raises:
        UsageError: it does not say so.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase | None, name: str) -> None:
        if tokenizer is None:
            raise UsageError(f"{name} has no tokenizer, so it cannot read texts: save its files into that folder")
        if not tokenizer.is_fast:
            raise UsageError(
                f"the tokenizer of {name} ({type(tokenizer).__name__}) does not say which characters its tokens stand "
                "for: a simulator needs a fast one (a tokenizer.json)"
            )
        self.tokenizer = tokenizer
        first = list(tokenizer("", verbose=False)["input_ids"])[:1]
        self.begin = first if first == [tokenizer.bos_token_id] else []

    def __call__(self, text: str) -> Spelt:
        """Tokens of a text that stands anywhere: no BOS; `<|eot_id|>` and the like are spelt out as what they are."""
        found = self.tokenizer(
            text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True, verbose=False
        )
        return Spelt(list(found["input_ids"]), np.array(found["offset_mapping"], dtype=np.int64).reshape(-1, 2))
