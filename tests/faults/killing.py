"""A stage that is killed with SIGKILL again and again at random moments, and started again until it is done."""

import random
import time
from collections.abc import Callable
from typing import Any


def run(processes: Any, stage: Callable[..., object], options: object) -> float:
    """Run it in a process of its own; how many seconds that took."""
    start = time.monotonic()
    process = processes.Process(target=stage, args=(options,))
    process.start()
    process.join()
    assert process.exitcode == 0
    return time.monotonic() - start


def killed(
    processes: Any,
    stage: Callable[..., object],
    options: Callable[[str], object],
    *,
    times: int,
    window: tuple[float, float],
    seed: int,
) -> list[str]:
    """Names of the runs that were killed, `times` in all, and then came to their end.

    Args:
        options: of a run by its name; "first", which also makes the MLflow store, and "calm" are left alone.
        window: shares of an undisturbed run, between which kills come.
    """
    run(processes, stage, options("first"))
    lasts = run(processes, stage, options("calm"))
    dice, died, number = random.Random(seed), 0, 0
    while died < times:
        process = processes.Process(target=stage, args=(options(f"rough{number}"),))
        process.start()
        process.join(dice.uniform(*window) * lasts)
        process.kill()
        process.join()
        died += process.exitcode == -9
        number += process.exitcode == 0  # it got to its end between two kills: the next ones are of a new run
    run(processes, stage, options(f"rough{number}"))
    return [f"rough{each}" for each in range(number + 1)]
