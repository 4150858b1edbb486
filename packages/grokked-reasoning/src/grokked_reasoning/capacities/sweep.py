"""The models of a sweep: a world of profiles and a training run for each, both runs of their own below the sweep's."""

from functools import lru_cache
from itertools import product
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from runkit.errors import UsageError
from runkit.options import parse

from grokked_reasoning import places
from grokked_reasoning.capacities.measure import measured
from grokked_reasoning.capacities.questions import Exam, exam
from grokked_reasoning.data import data
from grokked_reasoning.options import CapacityOptions, MakeOptions, TrainOptions
from grokked_reasoning.train import train

_HEAD = 16  # least width of an attention head, as in the reference
_EVALUATIONS, _SAVES = 20, 4


class Size(NamedTuple):
    """A model of the sweep."""

    people: int
    layers: int
    width: int

    def __str__(self) -> str:
        return f"{self.people} people, {self.layers} layers, width {self.width}"


class Sweep:
    """Makes worlds and trains models; what is finished already is found again by its options."""

    def __init__(self, options: CapacityOptions) -> None:
        self._options = options
        self._world = lru_cache(maxsize=1)(self._make)

    def sizes(self) -> list[Size]:
        """All combinations, one world after the other."""
        asked = self._options
        return [Size(*each) for each in dict.fromkeys(product(asked.people, asked.layers, asked.widths))]

    def __call__(self, size: Size) -> pl.DataFrame:
        """Rows of tables.Capacity of a model of this size, trained unless it has been."""
        world, asked = self._world(size.people)
        folder = train(self._recipe(size, world, len(asked.data.train)))
        if folder is None:
            raise UsageError("capacity trains its models in one process: start it without accelerate or torchrun")
        return measured(folder, asked, self._options)

    def _make(self, people: int) -> tuple[Path, Exam]:
        asked = {"task": "profiles", "entities": people, "phi": self._options.phi, "run_name": f"{people} people"}
        folder = data(parse(MakeOptions, asked | self._shared("seed", "experiment")))
        return folder, exam(places.data(str(folder)))

    def _recipe(self, size: Size, world: Path, rows: int) -> TrainOptions:
        """Dropout, which keeps from memorising, is off, and weight decay small; nothing ends training early."""
        steps = ceil(self._options.exposures * rows / self._options.batch_size)
        chosen = {"data": str(world), "layers": size.layers, "width": size.width, "heads": heads(size.width)}
        chosen |= {"max_steps": steps, "warmup": min(300, ceil(steps / 20)), "schedule": "cosine", "stop": "never"}
        chosen |= {"evaluate_every": ceil(steps / _EVALUATIONS), "save_every": ceil(steps / _SAVES), "dense_until": 0}
        chosen |= {"weight_decay": 0.01, "dropout": 0.0, "keep": 2, "run_name": str(size)}
        named = self._shared("batch_size", "learning_rate", "seed", "device", "threads", "experiment")
        return parse(TrainOptions, chosen | named)

    def _shared(self, *names: str) -> dict[str, Any]:
        return {name: getattr(self._options, name) for name in names}


def heads(width: int) -> int:
    """As many heads as can be, all at least 16 wide (one, where the width is smaller)."""
    return max((n for n in range(1, width // _HEAD + 1) if width % n == 0), default=1)
