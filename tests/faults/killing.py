"""What is killed with SIGKILL again and again at random moments, and started again until it is done."""

import random
import time
from collections.abc import Callable
from typing import Protocol


class Process(Protocol):
    """As much of a process of `multiprocessing` as is used here."""

    exitcode: int | None

    def start(self) -> None: ...
    def join(self, timeout: float | None = None) -> None: ...
    def kill(self) -> None: ...


def undisturbed(process: Process) -> float:
    """Run it to its end; how many seconds that took."""
    start = time.monotonic()
    process.start()
    process.join()
    assert process.exitcode == 0
    return time.monotonic() - start


def killed(
    process: Callable[[], Process],
    reached: Callable[[], object],
    again: Callable[[], None],
    *,
    times: int,
    lasts: float,
    starts: float,
    seed: int,
) -> None:
    """Kill it `times` times on its way, each time a little further; then let it come to its end.

    A kill comes at a moment drawn from a window that is a few shares of the way long, and no shorter than a start.
    Where it left nothing behind that the kill before had not (work is done in pieces), the window grows.

    Args:
        process: a new one, which goes on where the last was killed.
        reached: what there is of its work, to be compared with what there was.
        again: called when it came to its end before that many kills: it is then to start from nothing.
        lasts: seconds from nothing to the end, undisturbed.
        starts: seconds that it takes where all is done already.
    """
    dice, died = random.Random(seed), 0
    narrow = window = max(2.5 * lasts / times, 2 * starts)
    while died < times:
        before, one = reached(), process()
        one.start()
        one.join(dice.uniform(0, window))
        one.kill()
        one.join()
        assert one.exitcode in (0, -9), "it failed by itself"
        died += one.exitcode == -9
        window = 1.5 * window if reached() == before else narrow
        if one.exitcode == 0:
            again()
    undisturbed(process())
