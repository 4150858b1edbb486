"""Edits of activations as plain data: they print, hash and compare, and so can be logged and used as keys.

An edit names a site (or a glob of sites), a `Where`, and what the values there become. It holds no model and does
nothing until `Model.run` or `Model.generate` applies it.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from actkit.batch import Batch
from actkit.errors import EditError
from actkit.where import Where, as_where, find, inner


class Places(NamedTuple):
    """The K (row, position) pairs one application of an edit touches, and how to cut a whole vector to its units."""

    rows: Int[Tensor, " K"]
    positions: Int[Tensor, " K"]
    cut: Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Data:
    """A tensor as frozen data: compared, hashed and printed by content."""

    tensor: Tensor
    digest: str
    _copies: dict[tuple[torch.device, torch.dtype], Tensor] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, value: Any) -> "Data":
        """Copy `value` (tensor or nested numbers) and take its digest."""
        # Plain numbers are kept in float64, so that they lose nothing before they meet the model's dtype.
        array = isinstance(value, Tensor) or hasattr(value, "__array__")
        try:
            source = torch.as_tensor(value) if array else torch.tensor(value, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError) as error:
            raise EditError(f"An edit's values must be numbers or a tensor, not {value!r}.") from error
        tensor = source.detach().to("cpu", copy=True).contiguous()
        flat = tensor.reshape(-1).view(torch.uint8) if tensor.numel() else tensor
        head = f"{tensor.dtype}{tuple(tensor.shape)}".encode()
        return cls(tensor, hashlib.sha256(head + bytes(flat.numpy())).hexdigest())

    def like(self, other: Tensor) -> Tensor:
        """The values on the device and in the dtype of `other`."""
        key = (other.device, other.dtype)
        if key not in self._copies:
            self._copies[key] = self.tensor.to(*key)
        return self._copies[key]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Data) and other.digest == self.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"tensor{list(self.tensor.shape)}#{self.digest[:8]}"


@dataclass(frozen=True)
class Edit:
    """Something done to site `at` (name or glob), where `where` says. `changed` tells what each kind does."""

    at: str
    where: Where


@dataclass(frozen=True)
class Zero(Edit):
    """Set to zero."""


@dataclass(frozen=True)
class Mean(Edit):
    """Replace by a reference vector of the whole site, such as its mean over a data set."""

    values: Data


@dataclass(frozen=True)
class Set(Edit):
    """Replace by a value that broadcasts to the touched part."""

    value: Data


@dataclass(frozen=True)
class Add(Edit):
    """Add `scale` times a direction of the whole site."""

    direction: Data
    scale: float


@dataclass(frozen=True)
class Scale(Edit):
    """Multiply by `factor`."""

    factor: float


@dataclass(frozen=True)
class Noise(Edit):
    """Add Gaussian noise of standard deviation `sigma`.

    The draw depends on seed, site, row and position alone, so it is the same under any padding, and the same while
    decoding as in one forward over the finished text.
    """

    sigma: float
    seed: int


@dataclass(frozen=True)
class Swap(Edit):
    """Replace by values of another run: the j-th touched place gets the j-th of them, or all get the only one."""

    source: Data


@dataclass(frozen=True)
class Fn(Edit):
    """Replace by f(old). Two of these are equal only when they hold the same function object."""

    f: Callable[[Tensor], Tensor]

    def __repr__(self) -> str:
        return f"Fn(at={self.at!r}, where={self.where!r}, f={getattr(self.f, '__qualname__', self.f)})"


@dataclass(frozen=True)
class ByPlace(Edit):
    """Replace by f(old, rows, positions). Two of these are equal only when they hold the same function object."""

    f: Callable[[Tensor, Tensor, Tensor], Tensor]

    def __repr__(self) -> str:
        return f"ByPlace(at={self.at!r}, where={self.where!r}, f={getattr(self.f, '__qualname__', self.f)})"


def changed(edit: Edit, at: str, old: Tensor, places: Places) -> Tensor:
    """What `edit` makes of the touched part `old` of site `at`: [K, units] or [K, heads, units].

    Raises EditError when the edit's values do not fit.
    """
    match edit:
        case Zero():
            return torch.zeros_like(old)
        case Mean(values=values):
            new = places.cut(values.like(old))
        case Set(value=value):
            new = value.like(old)
        case Add(direction=direction, scale=factor):
            new = old + places.cut(direction.like(old)) * factor
        case Scale(factor=factor):
            new = old * factor
        case Noise(sigma=sigma):
            new = old + sigma * _draws(edit, at, places, old.shape[1:]).to(old)
        case Swap(source=source):
            new = _matching(source.like(old), len(old), at)
        case Fn(f=f):
            new = _same_shape(f(old), old, edit)
        case ByPlace(f=f):
            new = _same_shape(f(old, places.rows, places.positions), old, edit)
        case _:
            raise TypeError(f"not an edit: {edit!r}")
    return _fit(new, old, edit)


def _draws(edit: Noise, at: str, places: Places, shape: torch.Size) -> Tensor:
    draws = []
    for row, position in zip(places.rows.tolist(), places.positions.tolist(), strict=True):
        key = hashlib.sha256(f"{edit.seed} {at} {row} {position}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(key[:8], "big", signed=True))
        draws.append(torch.randn(shape, generator=generator))
    return torch.stack(draws)


def _matching(new: Tensor, places: int, at: str) -> Tensor:
    if len(new) not in (1, places):
        raise EditError(
            f"swap at {at} touches {places} places but its source gives {len(new)}.",
            "Choose as many places in `source_where` as in `where`, or exactly one.",
        )
    return new


def _same_shape(new: Any, old: Tensor, edit: Edit) -> Tensor:
    if not isinstance(new, Tensor) or new.shape != old.shape:
        given = list(new.shape) if isinstance(new, Tensor) else type(new).__name__
        raise EditError(f"{edit} must give a tensor of shape {list(old.shape)}, as it was given; it gave {given}.")
    return new.to(old)


def _fit(new: Tensor, old: Tensor, edit: Edit) -> Tensor:
    try:
        return new.expand(old.shape)
    except RuntimeError as error:
        raise EditError(
            f"{type(edit).__name__.lower()} at {edit.at}: values of shape {list(new.shape)} do not fit "
            f"the touched part, {list(old.shape)}."
        ) from error


EVERYWHERE = Where()


def zero(at: str, where: Where = EVERYWHERE) -> Zero:
    """Set to zero."""
    return Zero(at, as_where(where))


def mean(at: str, values: Any, where: Where = EVERYWHERE) -> Mean:
    """Replace by `values`, one vector of the whole site (mean ablation); only the units in `where` are touched."""
    return Mean(at, as_where(where), Data.of(values))


def set_(at: str, value: Any, where: Where = EVERYWHERE) -> Set:
    """Replace by a number or tensor that broadcasts to the touched part."""
    return Set(at, as_where(where), Data.of(value))


def add(at: str, direction: Any, scale: float = 1.0, where: Where = EVERYWHERE) -> Add:
    """Add `scale` times `direction`, a vector of the whole site (steering)."""
    return Add(at, as_where(where), Data.of(direction), _number("scale", scale))


def scale(at: str, factor: float, where: Where = EVERYWHERE) -> Scale:
    """Multiply by `factor`."""
    return Scale(at, as_where(where), _number("factor", factor))


def noise(at: str, sigma: float, seed: int = 0, where: Where = EVERYWHERE) -> Noise:
    """Add seeded Gaussian noise of standard deviation `sigma`."""
    if not _number("sigma", sigma) >= 0:
        raise EditError(f"sigma is {sigma}; a standard deviation is 0 or more.")
    return Noise(at, as_where(where), float(sigma), int(seed))


def swap(at: str, source: Mapping[str, Tensor], where: Where = EVERYWHERE, source_where: Where | None = None) -> Swap:
    """Replace by what `source`, a Run that captured `at`, has at `source_where` (default: at `where`).

    Raises EditError when the source lacks the site or the places.
    """
    batch = getattr(source, "batch", None)
    if at not in source or not isinstance(batch, Batch):
        raise EditError(f"swap at {at}: the source did not capture it; it has {', '.join(source) or 'nothing'}.")
    chosen = as_where(where if source_where is None else source_where)
    b, t = find(chosen, torch.arange(len(batch)), batch.positions.cpu(), batch.lengths.cpu())
    if not len(b):
        raise EditError(f"swap at {at}: {chosen} is nowhere in the source.")
    values = source[at].detach().cpu()[b, t]
    return Swap(at, as_where(where), Data.of(values[inner(chosen, values.shape[1:], at)]))


def fn(at: str, f: Callable[[Tensor], Tensor], where: Where = EVERYWHERE) -> Fn:
    """Replace by `f(old)`, of the same shape as old: [K, units] (or [K, heads, units]) over the K touched places."""
    return Fn(at, as_where(where), f)


def by_place(at: str, f: Callable[[Tensor, Tensor, Tensor], Tensor], where: Where = EVERYWHERE) -> ByPlace:
    """Replace by `f(old, rows, positions)`: like `fn`, for edits that differ from row to row or token to token.

    `rows` and `positions` [K] say which row of the batch and which of its real tokens each of the K touched places is
    (while decoding: its absolute position in the finished text). So one batch can hold many experiments.
    """
    return ByPlace(at, as_where(where), f)


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise EditError(f"{name} must be one number, not {value!r}.") from error
