"""What every reducer is: settings, and what they do to a block of activations. The state is plain named tensors."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import asdict
from math import prod
from typing import Any, ClassVar, NamedTuple

import torch
import xxhash
from jaxtyping import Float, Int
from torch import Tensor

from actkit.errors import ActkitError
from actkit.harvest.features import Source
from actkit.harvest.rows import Block

State = dict[str, Tensor]
"""A reducer's running state at one site. Tensors without dimensions stay on the host; the others are on the device."""
Rest = Callable[[], None]

CHUNK = 1 << 22
"""Activations looked at in one go where a reducer needs a wider copy of them: 32 MiB in float64."""
_CACHED = 1 << 16
"""The same where a CPU's cache is to hold it."""


class HarvestError(ActkitError):
    """A harvest was asked for that cannot be, or met activations it cannot reduce."""


class Spot(NamedTuple):
    """A source as a harvest sees it. `shape`: what follows batch and time, such as (units,) or (heads, d_head)."""

    name: str
    kind: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    source: Source

    @property
    def units(self) -> int:
        """Units in all, U."""
        return prod(self.shape)


class Seen(NamedTuple):
    """One batch's activations at one site, without padding."""

    x: Float[Tensor, "n U"]
    tokens: Int[Tensor, " n"]
    """The tokens' numbers, ascending, counted through all rows of the data: 0 is row 0's first."""
    block: Block


class Reducer(ABC):
    """Settings of one reduction over a data set. n: real tokens of a batch; U: units of the site, flattened."""

    name: ClassVar[str]

    def settings(self) -> dict[str, Any]:
        """What decides the result, as JSON holds it."""
        return {key: _plain(value) for key, value in asdict(self).items()}  # pyright: ignore[reportArgumentType]

    @abstractmethod
    def work_bytes(self, spot: Spot, tokens: int) -> int:
        """Most bytes taken on the device while a batch is reduced, beside the state."""


class Folding(Reducer):
    """Reduces a whole data set to a state of fixed size."""

    exact: ClassVar[bool]
    """Merging gives the same bits in whatever order and grouping."""

    @abstractmethod
    def init(self, units: int, device: torch.device) -> State:
        """The state before the first token."""

    @abstractmethod
    def update(self, state: State, seen: Seen) -> Rest | None:
        """Take a batch in. What has to wait for the device is returned, to be called once more work is queued there."""

    @abstractmethod
    def merge(self, state: State, later: State) -> None:
        """Take in the state of later tokens."""

    @abstractmethod
    def finish(self, state: State) -> dict[str, Tensor]:
        """The result, units first where it has any. A tensor named `tokens` is turned into rows and positions."""

    @abstractmethod
    def result_bytes(self, units: int) -> int:
        """Bytes of the result on disk."""

    def state_bytes(self, units: int) -> int:
        """Bytes of the state on the device."""
        state = self.init(units, torch.device("meta"))
        return sum(x.numel() * x.element_size() for x in state.values() if x.dim())


class Listing(Reducer):
    """Reduces every batch to a list of entries, in the order of their tokens. It has no running state."""

    @abstractmethod
    def pick(self, seen: Seen) -> dict[str, Tensor]:
        """A batch's entries: tensors of one length, `tokens` among them, ascending."""

    @abstractmethod
    def most(self, lengths: Int[Tensor, " rows"], spot: Spot) -> int:
        """The most entries rows of these lengths may give."""

    @abstractmethod
    def entry_bytes(self, spot: Spot) -> int:
        """Bytes of one entry, with the row and position it gets."""


class OnItsWay:
    """A tensor being copied to the host while the device goes on. CUDA alone has such copies."""

    def __init__(self, x: Tensor) -> None:
        self._copy = x.to("cpu", non_blocking=x.is_cuda)
        self._done = torch.cuda.current_stream(x.device).record_event() if x.is_cuda else None

    def get(self) -> Tensor:
        """The copy, waited for."""
        if self._done is not None:
            self._done.synchronize()
        return self._copy


def digest(x: Tensor) -> str:
    """xxh3-128 of a tensor's content."""
    return xxhash.xxh3_128_hexdigest(x.cpu().contiguous().view(torch.uint8).numpy().tobytes())


def wide(device: torch.device) -> torch.dtype:
    """The widest float of a device: float64, which Apple's GPUs have not."""
    return torch.float32 if device.type == "mps" else torch.float64


def slices(x: Float[Tensor, "n U"], inside: Int[Tensor, " m"] | None = None) -> Iterator[Float[Tensor, "g U"]]:
    """The tokens, or those `inside`, in consecutive groups so small that a wide copy takes little.

    On the CPU a group and what is made of it stay in the cache.
    """
    size = max(1, (_CACHED if x.device.type == "cpu" else CHUNK) // x.shape[1])
    if inside is None:
        yield from x.split(size)
    else:
        yield from (x.index_select(0, part) for part in inside.split(size))


def slice_bytes(spot: Spot, tokens: int) -> int:
    """Bytes of one wide copy."""
    return 8 * spot.units * min(tokens, max(1, CHUNK // spot.units))


def _plain(value: Any) -> Any:
    return str(value).removeprefix("torch.") if isinstance(value, torch.dtype) else value
