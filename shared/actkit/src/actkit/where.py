"""Which part of a site is meant, counted in real tokens, and where that is in a padded tensor."""

import operator
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from actkit.errors import EditError

Index = int | Iterable[int] | None


class Where(NamedTuple):
    """Which part of a site: each field an int or several; None = everywhere.

    `rows`: row numbers of the batch. `pos`: indices among a row's REAL tokens, whatever the padding; -1 is its last
    real token. While decoding, `pos` is the absolute position in the finished text, prompt included. `heads`: only
    for `attn_z`. `units`: indices of the last dimension.
    """

    rows: Index = None
    pos: Index = None
    heads: Index = None
    units: Index = None

    def frozen(self) -> "Where":
        """The same with every field a tuple or None, so that it hashes."""
        return Where(*(None if field is None else _indices(field) for field in self))


def _indices(field: Any) -> tuple[int, ...]:
    """One index or several, of any integer type, as plain ints."""
    try:
        return tuple(map(operator.index, field))
    except TypeError:
        return (operator.index(field),)


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
        raise EditError(f"{at} has no heads; only attn_z has.")
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
