"""The processes of one harvest: those `torchrun` or `accelerate launch` started, or this one alone."""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import torch.distributed as dist

from actkit.errors import ActkitError

T = TypeVar("T")


class Team:
    """`rank` of `size` processes. They share one file system; each loads the model on its own device."""

    def __init__(self) -> None:
        if not _started() and int(os.environ.get("WORLD_SIZE", "1")) > 1:
            from accelerate import PartialState

            PartialState()
        self.rank, self.size = (dist.get_rank(), dist.get_world_size()) if _started() else (0, 1)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            dist.barrier()

    def first(self, work: Callable[[], T]) -> T:
        """What `work` gives on the first process, given to all; an ActkitError it raises there is raised by all."""
        if self.size == 1:
            return work()
        box: list[Any] = [None, None]
        if self.rank == 0:
            try:
                box[0] = work()
            except ActkitError as error:
                box[1] = error
        dist.broadcast_object_list(box)
        if box[1] is not None:
            raise box[1]
        return box[0]

    def share(self, shards: int) -> range:
        """The consecutive shards this process does."""
        return range(self.rank * shards // self.size, (self.rank + 1) * shards // self.size)


def _started() -> bool:
    return dist.is_available() and dist.is_initialized()
