"""The processes that train together: one, unless `accelerate launch` or `torchrun` started several."""

import os
from importlib import import_module
from typing import Any, TypeVar

import torch
from torch import nn

from runkit.errors import UsageError

T = TypeVar("T")


class Team:
    """This process's place among all. With one process nothing here does anything.

    Attributes:
        rank, size: which of how many; leads: rank is 0, the one that keeps the run's record.
        device: where this process computes.
    """

    def __init__(self, device: str) -> None:
        self.size, self.rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
        self.leads = self.rank == 0
        if self.size > 1:
            accelerate: Any = import_module("accelerate")
            self.device: torch.device = accelerate.PartialState(cpu=device == "cpu").device
        else:
            self.device = _device(device)

    def share(self, value: T) -> T:
        """What the leader has, for all."""
        if self.size == 1:
            return value
        utils: Any = import_module("accelerate.utils")
        return utils.broadcast_object_list([value])[0]

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module with gradients averaged over all processes."""
        if self.size == 1:
            return module
        from torch.nn.parallel import DistributedDataParallel

        ids: Any = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=ids)

    def check(self, batch_size: int) -> None:
        """Raises UsageError where a batch cannot be shared out evenly."""
        if batch_size % self.size:
            raise UsageError(f"--batch-size {batch_size} cannot be shared by {self.size} processes: take a multiple")


def _device(name: str) -> torch.device:
    if name != "auto":
        try:
            return torch.empty(0, device=name).device
        except (RuntimeError, AssertionError) as error:
            raise UsageError(f"--device {name}: {str(error).splitlines()[0]}") from None
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found or torch.device("cpu")
