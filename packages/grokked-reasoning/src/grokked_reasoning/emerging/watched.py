"""The tokens that neurons are watched on, in batches."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import actkit
import torch
from actkit import buckets
from actkit.batch import Batch, pad_rows
from jaxtyping import Int
from runkit import StageRun
from runkit.errors import UsageError
from torch import Tensor

_LONGEST = 512
Rows = Sequence[list[int]]


class Piece(NamedTuple):
    """A batch, on the host; `places`: which of its slots, row after row, are tokens to watch."""

    batch: Batch
    places: Int[Tensor, " P"]


def cut(rows: Rows, model: actkit.Model, seq_len: int | None, run: StageRun) -> Rows:
    """The rows to the length that is looked at; how much is left out is said.

    Raises UsageError for a length that the model cannot read.
    """
    context = model.context or _LONGEST
    if seq_len is not None and model.context is not None and seq_len > context:
        raise UsageError(f"--seq-len {seq_len}: the model reads {context} tokens at most")
    size = min(context, _LONGEST) if seq_len is None else seq_len
    short = [row[:size] for row in rows]
    there, kept = (sum(map(len, each)) for each in (rows, short))
    if kept < there:
        run.log(f"{there - kept:,} of {there:,} tokens stand after the first {size} of their row: not looked at")
    return short


class Watched:
    """The data in the finished model's tokens. `rows`; `groups`: of rows of like length, `batch_size` at most."""

    def __init__(self, rows: Rows, model: actkit.Model, batch_size: int) -> None:
        self.rows = rows
        self.groups = [[rows[i] for i in group] for group in buckets([len(row) for row in rows], batch_size)]
        self._pad = model.pad_id
        special = [] if model.tokenizer is None else model.tokenizer.all_special_ids
        self._aside = torch.tensor(special, dtype=torch.long)

    def piece(self, rows: Rows) -> Piece:
        """Some rows as a batch. Special tokens (begin and end of text) are read, not watched."""
        batch = pad_rows(rows, pad_id=self._pad, pad="right")
        watched = (batch.attention_mask == 1) & ~torch.isin(batch.input_ids, self._aside)
        return Piece(batch, watched.flatten().nonzero()[:, 0])

    @property
    def tokens(self) -> int:
        """How many are watched."""
        return sum(len(self.piece(group).places) for group in self.groups)


def check_same(rows: Rows, finished: Rows, folder: Path) -> None:
    """Raises UsageError where a checkpoint has the data (`rows`) in other tokens than the finished model, cut."""
    for number, (here, there) in enumerate(zip(rows, finished, strict=True)):
        if here[: len(there)] != there:
            raise UsageError(
                f"{folder}: its tokenizer reads row {number} of --data as other tokens than the finished model's "
                f"({here[:8]}, not {there[:8]}), so their neurons cannot be watched side by side"
            )
