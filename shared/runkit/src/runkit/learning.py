"""A training that survives a kill: the state of what learns every so many steps, and the curve up to there."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl
import safetensors.torch
import torch
from torch import Tensor

from runkit import files
from runkit.parts import Parts

_files: Any = safetensors.torch
_KEPT = 2  # the newest, and the one before should that be damaged
_POOL = 16  # batches whose rows are sorted by length together


class Learner(Protocol):
    """What learns. `step`: how many steps it has made."""

    step: int

    def state(self) -> dict[str, Tensor]:
        """What the next steps depend on."""
        ...

    def restore(self, step: int, tensors: dict[str, Tensor]) -> None:
        """Go on from what `state` gave after `step` steps."""
        ...


class Checkpoints:
    """Pieces of the curve, keyed by the step they end at; each vouches for a file with the state after that step."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def resume(self, learner: Learner, log: Callable[[str], None]) -> None:
        """Put a learner to the newest state that is whole; one that is damaged is named."""
        for step in reversed(self._parts.keys()):
            path = self._path(int(step))
            if not path.is_file():
                continue
            digest = self._piece(int(step))["state"][0]
            if files.digest(path) == digest:
                learner.restore(int(step), _files.load_file(path))
                return
            log(f"{path} is damaged (its content is not what was written): training goes on from the state before")

    def save(self, learner: Learner, rates: list[float], losses: list[Tensor]) -> pl.DataFrame:
        """Write the state, then the piece of the curve since the last time; returns that piece."""
        path = self._path(learner.step)
        with files.atomic(path) as temporary:
            _files.save_file(learner.state(), temporary)
        steps = range(learner.step - len(losses) + 1, learner.step + 1)
        curve = pl.DataFrame({"step": steps, "loss": torch.stack(losses).cpu().numpy(), "learning_rate": rates})
        curve = curve.cast({"loss": pl.Float64})
        self._parts.write(learner.step, curve.with_columns(state=pl.lit(files.digest(path))))
        for step in self._parts.keys()[:-_KEPT]:
            self._path(int(step)).unlink(missing_ok=True)
        return curve

    def curve(self) -> pl.DataFrame:
        """The whole curve."""
        return self._parts.collect().drop("state").unique("step").sort("step")

    def _piece(self, step: int) -> pl.DataFrame:
        return dict(zip(self._parts.keys(), self._parts.pieces(), strict=True))[step]

    def _path(self, step: int) -> Path:
        return self._parts.folder / f"state-{step}.safetensors"


def tensors(parameters: Mapping[str, Tensor], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Parameters by name and the optimizer's moments, as `put_back` takes them.

    The optimizer was given the parameters in the order they have here.
    """
    names = list(parameters)
    found = {f"weight.{name}": each for name, each in parameters.items()}
    for number, each in optimizer.state_dict()["state"].items():
        found |= {f"{key}.{names[number]}": torch.as_tensor(value) for key, value in each.items()}
    return {name: each.detach().cpu().contiguous() for name, each in found.items()}


@torch.no_grad()
def put_back(parameters: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, found: Mapping[str, Tensor]) -> None:
    """Parameters and optimizer as they were when `tensors` was called."""
    moments: dict[int, dict[str, Tensor]] = {number: {} for number in range(len(parameters))}
    numbers = {name: number for number, name in enumerate(parameters)}
    for full, value in found.items():
        key, name = full.split(".", 1)
        if key == "weight":
            parameters[name].copy_(value)
        else:
            moments[numbers[name]][key] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})


def batches(lengths: Sequence[int], size: int, seed: tuple[int, ...]) -> list[list[int]]:
    """All rows once, in batches of about the same length, in an order that the seed decides."""
    random = np.random.default_rng(seed)
    found: list[list[int]] = []
    order: list[int] = random.permutation(len(lengths)).tolist()
    for start in range(0, len(order), size * _POOL):
        pool = sorted(order[start : start + size * _POOL], key=lambda number: lengths[number])
        found += [pool[at : at + size] for at in range(0, len(pool), size)]
    return [found[number] for number in random.permutation(len(found))]
