"""Stages that run side by side, each in a process of its own, because small models do not use a second core."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

Call = tuple[Callable[[Any], Any], Any]
"""A stage, and its options."""


def side_by_side(calls: Sequence[Call], at_once: int) -> list[Any]:
    """What the stages give, in the order of the calls, so many at a time; all of them end with this process."""
    if at_once == 1:
        return [_run(call) for call in calls]
    with ProcessPoolExecutor(at_once, multiprocessing.get_context("spawn"), _leave_with_parent) as pool:
        return list(pool.map(_run, calls))


def _run(call: Call) -> Any:
    stage, options = call
    return stage(options)


def _leave_with_parent() -> None:
    """In a process of the pool: do not outlive the pipeline, even where that was killed and could not say so."""
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=follow, daemon=True).start()
