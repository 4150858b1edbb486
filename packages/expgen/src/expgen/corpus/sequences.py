"""One sequence, out of the tokens of a text."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from expgen.corpus.tokens import Special, Tokens


class Sequence(NamedTuple):
    """What the model reads, and the characters of `text` each token stands for. `documents`: per token, its number."""

    text: str
    ids: Int[np.ndarray, " T"]
    starts: Int[np.ndarray, " T"]
    ends: Int[np.ndarray, " T"]
    valid: Bool[np.ndarray, " T"]
    documents: Int[np.ndarray, " T"]


def sequence(tokens: Tokens, text: int, start: int, end: int, special: Special, *, sinks: bool) -> Sequence:
    """Tokens `start` to `end` (excluded) of a text, with the tokenizer's prefix in front.

    Without `sinks` neither the first position nor the first token that is text may be a peak: there models park
    attention that they have no use for, and some neurons reach values hundreds of times their usual ones whatever the
    text says (attention sinks: Xiao et al. 2023, "Efficient Streaming Language Models with Attention Sinks", section
    3.1; massive activations: Sun et al. 2024, section 2). Such a peak tells nothing of what a neuron means.
    """
    ids, starts, ends, valid, documents = (each[start:end] for each in tokens[1:6])
    low, high = _covered(starts, ends)
    size = len(special.prefix) if tokens.lead[text] else 0
    starts, ends = (
        np.concatenate([np.zeros(size, np.int32), (np.clip(each, low, high) - low).astype(np.int32)])
        for each in (starts, ends)
    )
    valid = np.concatenate([np.full(size, special.counted), valid])
    if not sinks:
        valid[[0, np.argmax(starts < ends)]] = False
    return Sequence(
        tokens.texts[text][low:high], np.concatenate([special.prefix[:size], ids]), starts, ends, valid,
        np.concatenate([np.full(size, documents[0]), documents]),
    )  # fmt: skip


def _covered(starts: Int[np.ndarray, " T"], ends: Int[np.ndarray, " T"]) -> tuple[int, int]:
    """The characters that the tokens stand for, from the first to the last."""
    text = starts < ends
    return (int(starts[text].min()), int(ends[text].max())) if text.any() else (0, 0)
