"""Stages that run side by side, each in a process of its own, because small models do not use a second core."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def side_by_side(stage: Callable[[A], B], asked: Sequence[A], at_once: int) -> list[B]:
    """What the stage gives for each of these options, so many at a time; all of them end with this process."""
    if at_once == 1:
        return [stage(each) for each in asked]
    with ProcessPoolExecutor(at_once, multiprocessing.get_context("spawn"), _leave_with_parent) as pool:
        return list(pool.map(stage, asked))


def _leave_with_parent() -> None:
    """In a process of the pool: do not outlive the pipeline, even where that was killed and could not say so."""
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=follow, daemon=True).start()
