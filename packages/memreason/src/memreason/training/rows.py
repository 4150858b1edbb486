"""Rows of the vocabulary: room for the scheme's tokens, and what they hold before anything is learnt."""

from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from memreason.codec import Codec
from memreason.scheme import GENERAL

_NOISE = 0.1
"""Of the noise that tells copies of a row apart: its share of the spread of all rows."""


def resized(
    model: PreTrainedModel, codec: Codec, *, known: PreTrainedTokenizerBase | None = None, seed: int = 0
) -> None:
    """Give the model rows for all tokens, and those of new tokens their first values.

    Never fewer rows than there are: vocabularies are often padded, and a new token's id may lie inside the padding.
    What the rows hold is a function of the model, the scheme and the seed, so that rows nobody trained need not be
    saved.

    Args:
        known: the base's own tokenizer; the scheme's tokens that it has already keep their rows.
    """
    words = known if known is not None else codec.tokenizer
    old = cast("Any", model.get_input_embeddings()).weight.shape[0]
    named = len(words) - (len(codec.new_ids) if known is None else 0)
    there = [] if known is None else words.get_vocab()
    if len(codec.tokenizer) > old:
        model.resize_token_embeddings(len(codec.tokenizer), mean_resizing=False)
    fresh = {
        token: name for token, name in zip(codec.new_ids, codec.scheme.tokens, strict=True) if name not in there
    }  # fmt: skip
    for number, weight in enumerate(matrices(model)):
        first = weight[: min(named, old)]
        weight.data[old:] = first.mean(0)  # of other tokens for which there was no row
        _fill(weight, first.clone(), fresh, codec, torch.Generator().manual_seed(2 * seed + number))


def matrices(model: PreTrainedModel) -> list[Float[Tensor, "V d"]]:
    """The input embeddings, and the output embeddings where they are others."""
    found = [cast("Any", each).weight for each in (model.get_input_embeddings(), model.get_output_embeddings())]
    return found[:1] if found[0] is found[1] else found


@torch.no_grad()
def _fill(
    weight: Float[Tensor, "V d"],
    first: Float[Tensor, "K d"],
    fresh: dict[int, str],
    codec: Codec,
    dice: torch.Generator,
) -> None:
    middle, spread = first.float().mean(0), first.float().std()
    for token in fresh:
        noise = torch.randn(first.shape[1], generator=dice).to(first.device) * spread
        start, share = middle, _NOISE
        if codec.scheme.init == "random":
            share = 1.0
        elif codec.scheme.init == "word" and (ids := _word(codec, token, len(first))):
            start = first[ids].float().mean(0)
        weight[token] = (start + share * noise).to(weight.dtype)


def _word(codec: Codec, token: int, known: int) -> list[int]:
    """Ids of the word that says what a token is for; none where the tokenizer cannot write it."""
    word = codec.owner(token) or GENERAL
    ids: list[int] = codec.tokenizer(word, add_special_tokens=False)["input_ids"]
    unknown = codec.tokenizer.unk_token_id
    return [each for each in ids if each != unknown and each < known]
