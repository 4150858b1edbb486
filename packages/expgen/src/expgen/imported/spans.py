"""The text that token ids stand for, and which characters of it each token is, without the text they were made of.

Decoding token by token breaks characters that are several tokens, and loses spaces. Here each token is the bytes it
stands for; bytes are joined first, and become characters together.
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int
from runkit.errors import UsageError
from transformers import PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import bytes_to_unicode

from expgen.corpus.tokens import Special

_SERVED = {"ByteLevel", "Metaspace", "Replace", "ByteFallback", "Fuse", "Strip", "WordPiece", "BPEDecoder"}
_SPACE = "▁"  # of SentencePiece and of Metaspace
_SURROGATES = 0xDC80, 0xDCFF  # what a byte that is no character's is decoded to


def spans_of(
    tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]
) -> tuple[str, Int[np.ndarray, " T"], Int[np.ndarray, " T"]]:
    """The text of some ids, and where in it each token starts and ends.

    A character that is several tokens is in the span of each. Special tokens, and bytes that are no whole character
    (at the edge of a stretch that was cut out), are no characters: their spans are empty.

    Raises:
        UsageError: a tokenizer of a kind that is not known.
        KeyError: an id the tokenizer does not have.
    """
    pieces = _pieces(tokenizer)
    parts = [pieces.bytes_of[i] for i in ids]
    text, before = _decoded(b"".join(parts))
    edges = np.cumsum([0, *map(len, parts)])
    starts, ends = before[0][edges[:-1]], before[1][edges[1:]]
    ends = np.where(edges[:-1] == edges[1:], starts, ends)
    if pieces.strips and text.startswith(" "):
        return text[1:], np.maximum(starts - 1, 0), np.maximum(ends - 1, 0)
    return text, starts, ends


def known(tokenizer: PreTrainedTokenizerBase) -> Int[np.ndarray, " V"]:
    """All ids the tokenizer has, ascending."""
    return np.array(sorted(_pieces(tokenizer).bytes_of))


class _Pieces(NamedTuple):
    """What each id stands for, and whether a text's first space is the tokenizer's own."""

    bytes_of: dict[int, bytes]
    strips: bool


@lru_cache(maxsize=1)
def _pieces(tokenizer: PreTrainedTokenizerBase) -> _Pieces:
    made: Any = tokenizer
    silent, added = set(Special.of(tokenizer, ()).silent.tolist()), made.added_tokens_decoder
    rules = _Rules.of(made)
    found = {i: rules.bytes_of(piece) for piece, i in made.get_vocab().items()}
    found |= {i: str(token.content).encode() for i, token in added.items()}
    return _Pieces(found | dict.fromkeys(silent, b""), rules.strips)


class _Rules(NamedTuple):
    """How the tokenizer spells the pieces of its vocabulary. `kinds`: of the steps of its decoder."""

    kinds: frozenset[str]
    strips: bool
    suffix: str
    prefix: str

    @classmethod
    def of(cls, tokenizer: Any) -> "_Rules":
        """Read off the tokenizer's decoder. Raises UsageError for one that is not known."""
        decoder = tokenizer.backend_tokenizer.decoder
        said = json.loads(decoder.__getstate__()) if decoder is not None else {"type": "Sequence", "decoders": []}
        steps: list[dict[str, Any]] = said["decoders"] if said["type"] == "Sequence" else [said]
        kinds = frozenset(step["type"] for step in steps)
        if strange := kinds - _SERVED:
            raise UsageError(
                f"--tokenizer {tokenizer.name_or_path}: its decoder has a step {', '.join(sorted(strange))}; known are "
                f"{', '.join(sorted(_SERVED))}"
            )
        own = any(
            (step["type"] == "Strip" and step["start"]) or step.get("prepend_scheme") in ("first", "always")
            for step in steps
        )
        words = bool(kinds & {"WordPiece"}) or not kinds
        step = {name: value for each in steps for name, value in each.items()}
        return cls(kinds, own or words, step.get("suffix", ""), step.get("prefix", "##"))

    def bytes_of(self, piece: str) -> bytes:
        """What a piece of the vocabulary stands for."""
        if "ByteLevel" in self.kinds:
            return b"".join(_BYTES[c] if c in _BYTES else c.encode() for c in piece)
        if "ByteFallback" in self.kinds and len(piece) == 6 and piece.startswith("<0x"):
            return bytes([int(piece[3:5], 16)])
        if "BPEDecoder" in self.kinds:
            return piece.replace(self.suffix, " ").encode()
        if "WordPiece" in self.kinds or not self.kinds:
            spaced = self.kinds and piece.startswith(self.prefix)
            return (piece.removeprefix(self.prefix) if spaced else f" {piece}").encode()
        return piece.replace(_SPACE, " ").encode()


_BYTES = {c: bytes([b]) for b, c in bytes_to_unicode().items()}


def _decoded(data: bytes) -> tuple[str, Int[np.ndarray, "2 bytes1"]]:
    """Bytes as text without those that are no character's; and, for the place before each byte and the one behind the
    last, how many characters begin before it: [0] not counting one the place is inside of, [1] counting it."""
    spelled = data.decode("utf-8", "surrogateescape")
    codes = np.frombuffer(spelled.encode("utf-32-le", "surrogatepass"), np.uint32)
    whole = (codes < _SURROGATES[0]) | (codes > _SURROGATES[1])
    width = np.where(whole, 1 + (codes >= 0x80) + (codes >= 0x800) + (codes >= 0x10000), 1)
    begun = np.concatenate([[0], np.cumsum(whole)])
    first = np.concatenate([[0], np.cumsum(width)])  # where each character begins
    at = np.arange(len(data) + 1)
    inside = np.searchsorted(first, at, "right") - 1
    text = data.decode("utf-8", "ignore")
    return text, np.stack([begun[inside], begun[np.minimum(inside + (first[inside] < at), len(codes))]])
