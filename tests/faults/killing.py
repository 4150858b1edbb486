"""What is killed with SIGKILL again and again at random moments, and started again until it is done."""

import os
import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

_GLANCE = 0.02  # seconds between two looks at what it made


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


def names_below(folder: Path) -> set[str]:
    """Pieces, checkpoints and finished files, by their paths below `folder`: whatever is not to be made again."""
    files = (f"{place}/{name}" for place, _, names in os.walk(folder) for name in names if ".tmp" not in name)
    return {path.removeprefix(f"{folder}/") for path in files}


def killed(
    process: Callable[[], Process],
    reached: Callable[[], set[str]],
    again: Callable[[], None],
    *,
    times: int,
    parts: Sequence[set[str]],
    lasts: float,
    starts: float,
    seed: int,
) -> None:
    """Kill it `times` times on its way, each time a little further; then let it come to its end.

    Two of three kills come at a random moment after it made something new, the others at a random moment of its start.
    Where the kills get ahead of the work, which is to have as many of them in each of its parts, the moments lie
    further apart.

    Args:
        process: a new one, which goes on where the last was killed.
        reached: what there is of its work, by names (`names_below`).
        again: called when it came to its end before that many kills: it is then to start from nothing.
        parts: what there is in the end, part by part.
        lasts: seconds from nothing to the end, undisturbed.
        starts: seconds that it takes where all is done already.
    """
    dice, died, ends = random.Random(seed), 0, 0
    narrow = window = lasts / times
    while died < times:
        before, one = reached(), process()
        one.start()
        if dice.random() < 1 / 3:
            one.join(dice.uniform(0, starts))
        else:
            while one.exitcode is None and reached() == before:
                one.join(_GLANCE)
            one.join(dice.uniform(0, window))
        one.kill()
        one.join()
        assert one.exitcode in (0, -9), "it failed by itself"
        died += one.exitcode == -9
        there = reached()
        way = statistics.fmean(len(part & there) / len(part) for part in parts)
        window = 1.4 * window if ends + way < died / times else narrow
        if one.exitcode == 0:
            ends += 1
            again()
    undisturbed(process())
