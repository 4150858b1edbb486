"""Two processes train as one: the same losses, looks and student, up to rounding; also when they go on after a stop."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from memreason.options import TrainOptions
from memreason.train import train
from memreason.training.adapters import WEIGHTS
from memreason.training.trainer import Trainer
from safetensors.torch import load_file

from tests.packages.memreason import made
from tests.teams import as_a_team, team


def _options(place: Path, out: str, **given: Any) -> TrainOptions:
    small = {"data": str(place / "data"), "model": str(place / "base"), "out": place / out, "epochs": 3,
             "batch_size": 4, "accumulate": 2, "mix": 1, "looks": 2, "look_at": 3, "rank": 2, "dropout": 0,
             "learning_rate": 1e-3, "device": "cpu", "save_every": 2, "arm": "planned", "plans": 2}  # fmt: skip
    return TrainOptions.model_validate(small | given)


def _stops_at_five(options: TrainOptions) -> None:
    advance = Trainer.advance

    def stops(self: Trainer) -> Any:
        if self.step == 5:
            raise SystemExit(7)
        return advance(self)

    Trainer.advance = stops
    train(options)


def test_two_processes_are_one(processes, workplace: Path):
    """15 traces in batches of 4: one process of the last batch's three has two rows and the other one."""
    made.base(workplace / "base")
    made.traces(workplace / "data", [*made.items("train"), *made.items("dev")], texts=["Paris lies in France"])
    alone = Path(str(train(_options(workplace, "alone"))))
    as_a_team(processes, 2, workplace, train, _options(workplace, "two"))
    for each in team(processes, 2, workplace, _stops_at_five, _options(workplace, "stopped")):
        each.join()
        assert each.exitcode == 7
    as_a_team(processes, 2, workplace, train, _options(workplace, "stopped"))
    curve = pl.read_parquet(alone / "tables/curve.parquet")
    student = load_file(alone / "student" / WEIGHTS)
    for name in ("two", "stopped"):
        theirs = pl.read_parquet(workplace / name / "tables/curve.parquet")
        assert theirs["step"].to_list() == list(range(1, 7))
        assert theirs["loss"].to_list() == pytest.approx(curve["loss"].to_list(), rel=1e-4)
        torch.testing.assert_close(load_file(workplace / name / "student" / WEIGHTS), student, atol=1e-4, rtol=0)
    kept = [(workplace / name / "student" / WEIGHTS).read_bytes() for name in ("two", "stopped")]
    assert kept[0] == kept[1]
