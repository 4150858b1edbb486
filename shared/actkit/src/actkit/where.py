"""Which part of a site is meant, counted in real tokens, and where that is in a padded tensor."""

import operator
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from actkit.errors import EditError

Index = Any
"""An int, several, a mask of booleans, or None."""


class Where(NamedTuple):
    """Which part of a site: each field an int or several; None = everywhere.

    `rows`: row numbers of the batch. `pos`: indices among a row's REAL tokens, whatever the padding; -1 is its last
    real token. Rows without such a token are left alone; one that no row has is an error. While decoding, `pos` is
    the absolute position in the finished text, prompt included. `heads`: heads of `attn_z`, `attn_q` and
    `attn_pattern`, key-value heads of `attn_k` and `attn_v`, experts of a mixture's `mlp_post`. `units`: indices of
    the last dimension, negative ones from its end; of `attn_pattern` the key's token, from 0. A mask of booleans
    stands for the indices at which it is true.
    """

    rows: Index = None
    pos: Index = None
    heads: Index = None
    units: Index = None

    def frozen(self) -> "Where":
        """The same with every field a tuple or None, so that it hashes. Raises EditError for what is no index."""
        return Where(*(None if x is None else _indices(name, x) for name, x in self._asdict().items()))

    def missed(self, lengths: Sequence[int]) -> str:
        """What these indices name that rows of such lengths do not have; "" when each is somewhere."""
        if gone := [row for row in self.rows or () if not 0 <= row < len(lengths)]:
            return f"row {gone[0]}: the batch has rows 0 to {len(lengths) - 1}"
        longest = max(lengths[row] for row in (self.rows or range(len(lengths))))
        if gone := [pos for pos in self.pos or () if not -longest <= pos < longest]:
            return f"position {gone[0]}: the longest of its rows has {longest} tokens"
        return ""


def as_where(where: Any) -> Where:
    """The frozen form of a `Where`. Raises EditError for anything else."""
    if not isinstance(where, Where):
        raise EditError(f"`where` must be a Where, not {where!r}.", "For example Where(pos=-1).")
    return where.frozen()


def _indices(name: str, field: Any) -> tuple[int, ...]:
    """One index or several, of any integer type, or a mask of booleans, as plain ints."""
    field = field.tolist() if hasattr(field, "tolist") else field
    several = isinstance(field, Iterable) and not isinstance(field, str)
    items: list[Any] = list(field) if several else [field]
    if several and items and all(isinstance(item, bool) for item in items):
        items = [i for i, on in enumerate(items) if on]
    if not items:
        raise EditError(f"Where({name}=...) names nothing.", "Leave it out to mean all.")
    if wrong := [item for item in items if isinstance(item, bool) or not hasattr(item, "__index__")]:
        raise EditError(f"Where({name}=...) takes whole numbers, not {wrong[0]!r}.")
    return tuple(map(operator.index, items))


def find(where: Where, rows: Tensor, positions: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
    """Batch and time indices of the touched places, row by row.

    `rows`: original row numbers, [b]; `positions`: real position per slot, -1 at padding, [b, t]; `lengths`: real
    tokens per row, or None while decoding, where a negative position has no meaning yet (EditError).
    """
    hit = positions >= 0
    if where.rows is not None:
        hit = hit & torch.isin(rows, torch.tensor(where.rows, device=rows.device))[:, None]
    if where.pos is not None:
        hit = hit & _at_positions(torch.tensor(where.pos, device=positions.device), positions, lengths)
    b, t = hit.nonzero(as_tuple=True)
    return b, t


def _at_positions(wanted: Tensor, positions: Tensor, lengths: Tensor | None) -> Tensor:
    if bool((wanted >= 0).all()):
        return torch.isin(positions, wanted)
    if lengths is None:
        raise EditError(
            "A negative pos counts from the end of the finished text, which is not known while it is being decoded.",
            "Give the absolute position: the prompt's tokens are 0 to length - 1, the first new token is at length.",
        )
    absolute = torch.where(wanted < 0, lengths[:, None] + wanted, wanted)
    return (positions[:, :, None] == absolute[:, None, :]).any(-1)


def inner(where: Where, shape: torch.Size, at: str) -> tuple[Any, ...]:
    """Index of the touched heads and units in a [K, *shape] block. Raises EditError when out of range."""
    if where.heads is not None and len(shape) == 1:
        raise EditError(f"{at} has no heads.", "Sites within attention and experts have.")
    sizes = {"units": shape[-1], **({"heads": shape[0]} if len(shape) == 2 else {})}
    index: dict[str, Tensor | slice] = {}
    for name, size in sizes.items():
        chosen = getattr(where, name)
        if chosen is not None and not all(-size <= i < size for i in chosen):
            raise EditError(f"{at} has {name} 0 to {size - 1}; the edit asks for {list(chosen)}.")
        index[name] = slice(None) if chosen is None else torch.tensor(chosen)
    heads, units = index.get("heads"), index["units"]
    if heads is None:
        return (slice(None), units)
    if isinstance(heads, Tensor) and isinstance(units, Tensor):
        return (slice(None), heads[:, None], units)
    return (slice(None), heads, units)
