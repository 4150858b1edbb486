"""Batches are halved where memory runs out, by whatever words that is told, and nothing else is mistaken for it."""

from collections.abc import Sequence
from itertools import chain

import actkit
import pytest
import torch
from actkit.room import whole

WORDS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to"),
    RuntimeError("MPS backend out of memory (MPS allocated: 18.11 GB)"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]


class Work:
    """Doubles rows, at most so many at a time; `sizes`: what it was asked for."""

    def __init__(self, most: int, error: RuntimeError) -> None:
        self.most, self.error, self.sizes = most, error, list[int]()

    def __call__(self, rows: Sequence[int]) -> list[int]:
        self.sizes.append(len(rows))
        if len(rows) > self.most:
            raise self.error
        return [2 * row for row in rows]


@pytest.mark.parametrize("error", WORDS, ids=["CUDA", "CPU", "MPS", "cuBLAS"])
def test_halves_until_it_fits_and_remembers(error: RuntimeError):
    said: list[str] = []
    room, work = actkit.Room(said.append), Work(3, error)
    assert [*chain.from_iterable(room(range(11), work))] == [2 * row for row in range(11)]
    assert work.sizes == [11, 6, 3, 3, 3, 2]
    assert said == [
        "out of memory with 11 rows at a time: going on with 6",
        "out of memory with 6 rows at a time: going on with 3",
    ]
    work.sizes.clear()
    assert [*chain.from_iterable(room([5, 6, 7, 8], work))] == [10, 12, 14, 16]
    assert work.sizes == [3, 1]


def test_what_fits_is_done_at_once():
    work = Work(9, WORDS[0])
    assert actkit.Room()([1, 2, 3], work) == [[2, 4, 6]]
    assert work.sizes == [3]
    assert actkit.Room()([], work) == []


def test_one_row_that_does_not_fit_is_an_error():
    with (
        pytest.warns(UserWarning, match="going on with 1"),
        pytest.raises(actkit.ActkitError, match="one row at a time"),
    ):
        actkit.Room()([1, 2], Work(0, WORDS[0]))


def test_other_errors_are_not_mistaken_for_it():
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied (1x2 and 3x4)")
    work = Work(1, error)
    with pytest.raises(RuntimeError) as caught:
        actkit.Room()([1, 2], work)
    assert caught.value is error
    assert work.sizes == [2]


def test_a_step_of_training_is_told_and_not_halved():
    def step(error: RuntimeError) -> None:
        with whole(lambda: ValueError("8 at once do not fit")):
            raise error

    with pytest.raises(ValueError, match="8 at once"):
        step(WORDS[1])
    with pytest.raises(RuntimeError, match="shapes"):
        step(RuntimeError("shapes cannot be multiplied"))
