"""Documents as token ids, each token with the characters it stands for.

Everything is kept in flat arrays, token after token: some 20 bytes a token beside the texts.
"""

from collections.abc import Collection, Iterator, Sequence
from itertools import chain, groupby, islice
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int
from runkit.errors import UsageError
from runkit.progress import track
from transformers import PreTrainedTokenizerBase

from expgen.corpus.documents import Document

_AT_ONCE = 1000


class Special(NamedTuple):
    """Tokens that are not text. `prefix`: what the tokenizer puts in front of every text; `ids`: all special tokens;
    `silent`: those that stand for no characters (the unknown token stands for some); `end`: end of text, or None;
    `counted`: they may be peaks all the same.
    """

    prefix: Int[np.ndarray, " P"]
    ids: Int[np.ndarray, " S"]
    silent: Int[np.ndarray, " S"]
    end: int | None
    counted: bool

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, count: Collection[str]) -> "Special":
        """Those of a tokenizer. Raises UsageError for one that cannot say where in a text its tokens are."""
        made: Any = tokenizer
        if not made.is_fast:
            raise UsageError(
                f"the tokenizer of {made.name_or_path} ({type(made).__name__}) cannot say which characters a token "
                "stands for: save a fast one (tokenizer.json) beside the model"
            )
        added = {i for i, token in made.added_tokens_decoder.items() if token.special}
        ids = added | set(made.all_special_ids)
        named = {value for name, value in made.special_tokens_map.items() if name != "unk_token"}
        silent = ids if made.unk_token in named else ids - {made.unk_token_id}
        ordered, quiet = (np.array(sorted(each), int) for each in (ids, silent))
        return cls(_prefix(made), ordered, quiet, made.eos_token_id, "special" in count)


class Tokens(NamedTuple):
    """Texts as tokens, without the tokenizer's prefix.

    Per token: `ids`, `starts` and `ends` (characters of its text; equal where it stands for none), `valid` (may be a
    peak) and `documents` (the document's number); per text: `first` [texts + 1], its first token, and `lead`, whether
    the prefix belongs in front of it.
    """

    texts: list[str]
    ids: Int[np.ndarray, " tokens"]
    starts: Int[np.ndarray, " tokens"]
    ends: Int[np.ndarray, " tokens"]
    valid: Bool[np.ndarray, " tokens"]
    documents: Int[np.ndarray, " tokens"]
    first: Int[np.ndarray, " texts1"]
    lead: Bool[np.ndarray, " texts"]


def tokenized(
    documents: Sequence[Document],
    tokenizer: PreTrainedTokenizerBase,
    special: Special,
    *,
    template: bool,
    number: int = 0,
) -> Tokens:
    """The documents, numbered from `number` on, as tokens. `template`: a chat template's tokens may be peaks."""
    reader = _Reader(tokenizer, special, template)
    pieces: list[_Piece] = []
    for chunk in track(_chunks(documents), "documents tokenised, in thousands", -(-len(documents) // _AT_ONCE)):
        pieces.append(reader(chunk))
    flat = [np.concatenate(part) for part in zip(*(piece[1:] for piece in pieces), strict=True)]
    ids, starts, ends, valid, lengths, lead = flat
    return Tokens(
        [text for piece in pieces for text in piece.texts], ids, starts, ends, valid,
        np.repeat(np.arange(number, number + len(documents), dtype=np.int32), lengths), edges(lengths), lead,
    )  # fmt: skip


def edges(lengths: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n1"]:
    """Where each of several stretches begins, and where the last one ends."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


class _Piece(NamedTuple):
    texts: list[str]
    ids: Int[np.ndarray, " tokens"]
    starts: Int[np.ndarray, " tokens"]
    ends: Int[np.ndarray, " tokens"]
    valid: Bool[np.ndarray, " tokens"]
    lengths: Int[np.ndarray, " texts"]
    lead: Bool[np.ndarray, " texts"]


class _Reader:
    """Tokenises some documents at once, all texts or all conversations."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, special: Special, template: bool) -> None:
        self._tokenizer: Any = tokenizer
        self._special, self._template = special, template

    def __call__(self, documents: Sequence[Document]) -> _Piece:
        texts, chat = [each.text for each in documents], documents[0].contents is not None
        made = self._tokenizer(
            texts, add_special_tokens=not chat, return_offsets_mapping=True, return_attention_mask=False, verbose=False
        )
        lengths = np.array([len(each) for each in made["input_ids"]])
        ids = np.fromiter(chain.from_iterable(made["input_ids"]), np.int32)
        at = np.fromiter(chain.from_iterable(chain.from_iterable(made["offset_mapping"])), np.int64)
        at = at.reshape(-1, 2) + np.repeat(_bases(texts), lengths)[:, None]
        valid = np.isin(ids, self._special.ids, invert=True) | self._special.counted
        if chat and not self._template:
            valid &= _said(documents, at)
        cleaned, spans = _spelled(texts, at, np.isin(ids, self._special.silent), lengths)
        piece = _Piece(cleaned, ids, spans[:, 0], spans[:, 1], valid, lengths, np.zeros(0, bool))
        return _unprefixed(piece, self._special.prefix)


def _chunks(documents: Sequence[Document]) -> Iterator[list[Document]]:
    """All of one kind; conversations bring their special tokens with them, to texts the tokenizer adds its own."""
    for _, run in groupby(documents, lambda each: each.contents is None):
        while chunk := list(islice(run, _AT_ONCE)):
            yield chunk


def _bases(texts: Sequence[str]) -> Int[np.ndarray, " texts"]:
    """Where each text begins when all stand one after the other."""
    return edges(np.array([len(text) for text in texts]))[:-1]


def _said(documents: Sequence[Document], at: Int[np.ndarray, "tokens 2"]) -> Bool[np.ndarray, " tokens"]:
    """Which tokens have at least one character of a message's content."""
    base = _bases([document.text for document in documents])
    found = [
        (start + b, end + b)
        for document, b in zip(documents, base.tolist(), strict=True)
        for start, end in document.contents or ()
        if end > start
    ]
    begins, ends = np.array(found, np.int64).reshape(-1, 2).T
    return np.searchsorted(begins, at[:, 1], "left") > np.searchsorted(ends, at[:, 0], "right")


def _spelled(
    texts: Sequence[str], at: Int[np.ndarray, "tokens 2"], silent: Bool[np.ndarray, " tokens"], lengths: np.ndarray
) -> tuple[list[str], Int[np.ndarray, "tokens 2"]]:
    """The texts without the characters of silent tokens, and each token's characters in its text.

    What lies between two tokens (a space that the tokenizer trims off) belongs to the later one. A character that is
    several tokens is in the span of each.
    """
    first, base = edges(lengths), _bases(texts)
    starts, ends = at.T
    before = np.maximum.accumulate(np.concatenate([np.zeros(1, np.int64), ends]))[:-1]
    before = np.maximum(before, np.repeat(base, lengths))
    width = np.where(silent, ends - starts, 0)
    gone = edges(width)
    empty = silent & (width == 0) | (ends < before) & (starts == ends)
    starts = np.where(width > 0, starts, np.where(empty, before, np.minimum(starts, before)))
    ends = np.where(silent | empty, starts, ends)
    shift = gone[:-1] + np.repeat(base - gone[first[:-1]], lengths)
    cleaned = [
        text if gone[a] == gone[b] else _without(text, at[a:b][width[a:b] > 0] - start)
        for text, a, b, start in zip(texts, first[:-1], first[1:], base, strict=True)
    ]
    return cleaned, np.stack([starts - shift, ends - shift], axis=1).astype(np.int32)


def _without(text: str, spans: Int[np.ndarray, "n 2"]) -> str:
    kept = np.concatenate([[0], spans.ravel(), [len(text)]]).reshape(-1, 2).tolist()
    return "".join(text[start:end] for start, end in kept)


def _unprefixed(piece: _Piece, prefix: Int[np.ndarray, " P"]) -> _Piece:
    """Without the prefix, and `lead` says where it was."""
    first, size = edges(piece.lengths)[:-1], len(prefix)
    lead = piece.lengths >= size
    lead[lead] = (piece.ids[first[lead][:, None] + np.arange(size)] == prefix).all(axis=1)
    kept = np.ones(len(piece.ids), bool)
    kept[first[lead][:, None] + np.arange(size)] = False
    ids, starts, ends, valid = (each[kept] for each in piece[1:5])
    return _Piece(piece.texts, ids, starts, ends, valid, piece.lengths - size * lead, lead)


def _prefix(tokenizer: Any) -> Int[np.ndarray, " P"]:
    """What is put in front of a text, seen on a short one."""
    plain, full = (tokenizer("a", add_special_tokens=each)["input_ids"] for each in (False, True))
    places = [i for i in range(len(full)) if full[i : i + len(plain)] == plain]
    return np.array(full[: places[0]] if places else [], np.int32)
