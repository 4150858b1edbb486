"""Stages that run side by side, each in a process of its own, because small models do not use a second core."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NoReturn

Call = tuple[Callable[[Any], Any], Any]
"""A stage, and its options."""


def side_by_side(calls: Sequence[Call], at_once: int) -> list[Any]:
    """What the stages give, in the order of the calls, so many at a time; all of them end with this process."""
    if at_once == 1:
        return [_run(call) for call in calls]
    with ProcessPoolExecutor(at_once, multiprocessing.get_context("spawn"), _leave_with_parent) as pool:
        try:
            return list(pool.map(_run_here, calls))
        except KeyboardInterrupt:
            for process in multiprocessing.active_children():  # a terminal has told them itself, a scheduler has not
                process.terminate()
            raise


def _run(call: Call) -> Any:
    stage, options = call
    return stage(options)


def _run_here(call: Call) -> Any:
    """In a process of the pool: when it is interrupted, it does not go on to the next call."""
    _when_told_to_end(_interrupt)
    try:
        return _run(call)
    except KeyboardInterrupt:
        os._exit(130)


def _leave_with_parent() -> None:
    """In a process of the pool: do not outlive the pipeline, even where that was killed and could not say so."""
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=follow, daemon=True).start()
    _when_told_to_end(lambda *_: os._exit(130))


def _interrupt(*_: Any) -> NoReturn:
    """Once: a second signal must not disturb the end."""
    _when_told_to_end(lambda *_: None)  # rather than SIG_IGN, of which Python says that it comes too late
    raise KeyboardInterrupt


def _when_told_to_end(handler: Any) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)
