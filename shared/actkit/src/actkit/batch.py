"""Rows of token ids of mixed length, laid side by side so that padding cannot lie about positions."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor

Pad = Literal["left", "right"]


@dataclass(frozen=True, eq=False)
class Batch:
    """Token ids padded to a rectangle, with what a model must be told about the padding.

    `input_ids`, `attention_mask` (1 = real token): [B, T]. Real tokens of a row are contiguous.
    """

    input_ids: Int[Tensor, "B T"]
    attention_mask: Int[Tensor, "B T"]

    def __len__(self) -> int:
        return self.input_ids.shape[0]

    @cached_property
    def position_ids(self) -> Int[Tensor, "B T"]:
        """Each real token's index among its row's real tokens; 0 at padding before them."""
        return (self.attention_mask.cumsum(-1) - 1).clamp(min=0)

    @cached_property
    def positions(self) -> Int[Tensor, "B T"]:
        """As `position_ids`, but -1 at every padding slot."""
        return self.position_ids.masked_fill(self.attention_mask == 0, -1)

    @cached_property
    def lengths(self) -> Int[Tensor, " B"]:
        """Real tokens per row."""
        return self.attention_mask.sum(-1)

    @cached_property
    def last(self) -> Int[Tensor, " B"]:
        """Column of each row's last real token."""
        return self.positions.argmax(-1)

    @cached_property
    def flush(self) -> bool:
        """Whether every row ends in the last column."""
        return bool(self.attention_mask[:, -1].all())

    @cached_property
    def even(self) -> bool:
        """Whether no row is padded."""
        return bool(self.attention_mask.all())

    @cached_property
    def ids(self) -> list[list[int]]:
        """Each row's real token ids."""
        return [row[mask.bool()].tolist() for row, mask in zip(self.input_ids, self.attention_mask, strict=True)]

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        if self.input_ids.device == torch.device(device):
            return self
        moved = Batch(self.input_ids.to(device), self.attention_mask.to(device))
        # Asked before the ids move, because a question to an accelerator waits for all it is doing.
        moved.__dict__.update(flush=self.flush, even=self.even)
        return moved

    def left(self) -> "Batch":
        """The same rows padded on the left, as decoding needs them."""
        if self.flush:
            return self
        pad_id = int(self.input_ids[self.attention_mask == 0][0])
        return pad_rows(self.ids, pad_id=pad_id, pad="left").to(self.input_ids.device)


def pad_rows(rows: Sequence[Sequence[int]], *, pad_id: int, pad: Pad = "left") -> Batch:
    """Lay rows of ids side by side, padded with `pad_id` on the given side."""
    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        span = slice(width - len(row), width) if pad == "left" else slice(0, len(row))
        ids[i, span] = torch.tensor(row, dtype=torch.long)
        mask[i, span] = 1
    return Batch(ids, mask)


def buckets(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Groups of at most `batch_size` row numbers, short rows with short ones, always in the same order.

    Little of a batch is then padding. Rows of equal length keep their order.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
