"""From documents to sequences: whole ones, windows of them, or packed."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from jaxtyping import Int

from expgen.corpus.tokens import Special, Tokens, edges


def documents(tokens: Tokens, room: Int[np.ndarray, " texts"]) -> pl.DataFrame:
    """One sequence per text: its first tokens, `room` at most. Columns text, start, end (tokens)."""
    start, end = tokens.first[:-1], np.minimum(tokens.first[1:], tokens.first[:-1] + room)
    there = np.flatnonzero(end > start)
    return pl.DataFrame({"text": there, "start": start[there], "end": end[there]})


def windows(tokens: Tokens, room: Int[np.ndarray, " texts"]) -> pl.DataFrame:
    """Consecutive windows of just `room` tokens; the rest at a text's end, and texts that are shorter, are left out."""
    count = np.diff(tokens.first) // room
    text = np.repeat(np.arange(len(count)), count)
    nth = np.arange(len(text)) - np.repeat(edges(count)[:-1], count)
    start = tokens.first[text] + nth * room[text]
    return pl.DataFrame({"text": text, "start": start, "end": start + room[text]})


def joined(tokens: Tokens, chosen: Sequence[int], special: Special) -> Tokens:
    """Some texts as one: an end-of-text token after each, a line end between their characters."""
    pieces = [_ended(tokens, text, special) for text in chosen]
    base = edges(np.array([len(tokens.texts[text]) + 1 for text in chosen]))[:-1]
    size = [len(piece[0]) for piece in pieces]
    ids, starts, ends, valid, owners = (np.concatenate(part) for part in zip(*pieces, strict=True))
    shift = np.repeat(base, size)
    text = "\n".join(tokens.texts[text] for text in chosen)
    return Tokens(
        [text], ids, starts + shift, ends + shift, valid, owners, np.array([0, len(ids)]), np.ones(1, bool)
    )  # fmt: skip


def _ended(tokens: Tokens, text: int, special: Special) -> list[np.ndarray]:
    """A text's ids, starts, ends, valid and documents, with the end-of-text token unless it is there."""
    at = slice(tokens.first[text], tokens.first[text + 1])
    ids, starts, ends, valid, owners = (each[at] for each in tokens[1:6])
    if len(ids) == 0 or ids[-1] == special.end:
        return [ids, starts, ends, valid, owners]
    last = ends.max()
    end = (np.int32(special.end or 0), last, last, special.counted, owners[-1])
    return [np.append(each, more) for each, more in zip((ids, starts, ends, valid, owners), end, strict=True)]
