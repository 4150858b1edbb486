"""Token ids as text a person can read."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from transformers import PreTrainedTokenizerBase

from actkit.errors import ActkitError, NoTokenizer, nearest

if TYPE_CHECKING:
    from actkit.model import Model

Token = str | int
"""A token as text (" 19") or as its id."""


def readable(tokenizer: PreTrainedTokenizerBase | None, ids: Iterable[int]) -> list[str]:
    """Each token as it stands in a text, leading space kept; `<id>` where there is no tokenizer or no such token.

    A token that is only part of a character keeps the vocabulary's own spelling.
    """
    ids = [int(i) for i in ids]
    texts = {i: _readable(tokenizer, i) for i in set(ids)}
    return [texts[i] for i in ids]


def _readable(tokenizer: PreTrainedTokenizerBase | None, token_id: int) -> str:
    name = tokenizer.convert_ids_to_tokens(token_id) if tokenizer is not None else None
    if tokenizer is None or not isinstance(name, str):
        return f"<{token_id}>"
    if "▁" in name:  # SentencePiece's space, which decoding a single token would drop
        return name.replace("▁", " ")
    text = tokenizer.decode([token_id])
    return text if isinstance(text, str) and text and "\ufffd" not in text else name


def visible(text: str) -> str:
    """Text in which nothing hides: line ends, tabs and other unprintable characters spelled out."""
    marks = {"\n": "↵", "\t": "⇥", "\r": "␍"}
    return "".join(marks.get(c) or (c if c.isprintable() else c.encode("unicode_escape").decode()) for c in text)


def token_id(model: "Model", token: Token) -> int:
    """The id of one token, given as text, in the vocabulary's own spelling, or as its id.

    Raises ActkitError for text that is not exactly one token, naming its pieces and the nearest tokens; NoTokenizer.
    """
    if not isinstance(token, str):
        if not 0 <= token < model.dims.vocab:
            raise ActkitError(f"No token {token}: the vocabulary has ids 0 to {model.dims.vocab - 1}.")
        return int(token)
    if model.tokenizer is None:
        raise NoTokenizer("This model has no tokenizer, so a token cannot be text.", "Give the token's id.")
    vocab = model.tokenizer.get_vocab()
    ids, spaced = (model.tokenizer(t, add_special_tokens=False)["input_ids"] for t in (token, " " + token.strip()))
    if len(ids) == 1 and ids[0] != model.tokenizer.unk_token_id:
        return ids[0]
    if token in vocab:
        return vocab[token]
    pieces = ", ".join(map(repr, readable(model.tokenizer, ids)))
    likely = repr(" " + token.strip()) if len(spaced) == 1 else nearest(token, vocab)
    raise ActkitError(f"{token!r} is not one token of the vocabulary but {pieces or 'none'}.", f"Nearest: {likely}.")
