"""Batches that do not fit into memory are halved; rows do not depend on those beside them, so results stay the same."""

import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch

from actkit.errors import ActkitError

T = TypeVar("T")
R = TypeVar("R")
_SAID = (
    "out of memory",  # CUDA, ROCm, MPS and XPU, where PyTorch has no type of error for it
    "can't allocate memory",  # PyTorch's allocator on the CPU
    "_STATUS_ALLOC_FAILED",  # cuBLAS, cuDNN
)


class Room:
    """Does work in batches as large as memory takes: as many rows as are given, until these turn out to be too many.

    What it has learnt holds for all later calls, so one of these serves batches of a kind. `tell` is given a sentence
    whenever batches get smaller (a warning when not given).
    """

    def __init__(self, tell: Callable[[str], None] | None = None) -> None:
        self._tell = tell or (lambda message: warnings.warn(message, stacklevel=4))
        self._most: int | None = None

    def __call__(self, rows: Sequence[T], work: Callable[[Sequence[T]], R]) -> list[R]:
        """What `work` makes of the rows: of all together, or, where memory does not do for that, part by part in order.

        `work` may be called again with fewer of the same rows, so it must leave nothing behind when it fails.

        Raises:
            ActkitError: a single row does not fit.
        """
        done, made = 0, list[R]()
        while done < len(rows):
            some = rows[done:][: self._most]
            try:
                made.append(work(some))
            except RuntimeError as error:
                refuse_one_row(error, len(some))
            else:
                done += len(some)
                continue
            # Out here, where the error is gone and no longer holds on to what had been computed.
            self._most = halved(len(some), self._tell)
        return made


@contextmanager
def whole(refuse: Callable[[], Exception]) -> Generator[None]:
    """For steps of training, which are not halved: sums in another order would be other weights.

    Where memory runs out inside, what `refuse` gives is raised.
    """
    try:
        yield
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        raise refuse() from error


def out_of_memory(error: BaseException) -> bool:
    """Whether that is what an error means, on whatever device."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(each in str(error) for each in _SAID)
    )


def refuse_one_row(error: RuntimeError, count: int) -> None:
    """Go on where memory ran out with more than one row; anything else is raised.

    Raises:
        ActkitError: memory ran out with a single row.
    """
    if not out_of_memory(error):
        raise error
    if count == 1:
        raise ActkitError(
            "Out of memory with one row at a time.",
            "Take shorter texts, a smaller dtype (bfloat16), fewer layers or sites at a time, or a larger device.",
        ) from error


def halved(count: int, tell: Callable[[str], None]) -> int:
    """Half as many, told; what the failed batch has left in the device's cache is given back."""
    tell(f"out of memory with {count} rows at a time: going on with {(count + 1) // 2}")
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()
    return (count + 1) // 2
