"""A training that survives a kill: its state every so many steps, and the curve up to there."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import torch
from runkit import files
from runkit.parts import Parts
from safetensors.torch import load_file, save_file
from torch import Tensor

from expgen.simulating.training import Trainer

_KEPT = 2  # the newest, and the one before should that be damaged


class Checkpoints:
    """Pieces of the curve, keyed by the step they end at; each vouches for a file with the state after that step."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def resume(self, trainer: Trainer, log: Callable[[str], None]) -> None:
        """Put a trainer to the newest state that is whole; one that is damaged is named."""
        for step in reversed(self._parts.keys()):
            path = self._path(int(step))
            if not path.is_file():
                continue
            digest = self._piece(int(step))["state"][0]
            if files.digest(path) == digest:
                trainer.restore(int(step), load_file(path))
                return
            log(f"{path} is damaged (its content is not what was written): training goes on from the state before")

    def save(self, trainer: Trainer, rates: list[float], losses: list[Tensor]) -> pl.DataFrame:
        """Write the state, then the piece of the curve since the last time; returns that piece."""
        path = self._path(trainer.step)
        with files.atomic(path) as temporary:
            save_file(trainer.state(), temporary)
        steps = range(trainer.step - len(losses) + 1, trainer.step + 1)
        curve = pl.DataFrame({"step": steps, "loss": torch.stack(losses).tolist(), "learning_rate": rates})
        self._parts.write(trainer.step, curve.with_columns(state=pl.lit(files.digest(path))))
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
