"""Several processes that work as one, as `accelerate launch` and `torchrun` start them: without their slow start."""

import os
import socket
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any


def as_a_team(
    processes: ForkServerContext, size: int, folder: Path, work: Callable[[Any], object], options: Any
) -> None:
    """Call `work(options)` in `size` processes on the CPU, in a working folder; all must end well."""
    started = team(processes, size, folder, work, options)
    for each in started:
        each.join()
    assert [each.exitcode for each in started] == [0] * size


def team(
    processes: ForkServerContext, size: int, folder: Path, work: Callable[[Any], object], options: Any
) -> list[Any]:
    """The same, only started."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = [
        processes.Process(target=_member, args=(rank, size, port, folder, work, options)) for rank in range(size)
    ]
    for each in started:
        each.start()
    return started


def _member(rank: int, size: int, port: int, folder: Path, work: Callable[[Any], object], options: Any) -> None:
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in told.items()})
    os.environ.update({"MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "true"})
    os.chdir(folder)
    work(options)
