"""A trained model weighed: its last checkpoint, asked everything it was trained on."""

from pathlib import Path

import numpy as np
import polars as pl
from runkit import runs
from runkit.tables import columns
from runkit.team import Team

from grokked_reasoning import checkpoints, modeling, places, tables
from grokked_reasoning.capacities.bits import Knowable
from grokked_reasoning.capacities.questions import KINDS, Exam
from grokked_reasoning.capacities.weigh import losses, parameters, weigh
from grokked_reasoning.options import CapacityOptions

SETTLED = 0.02
"""Most that the last fifth of training may have added to what a converged model knows, as a share."""


def measured(folder: Path, exam: Exam, options: CapacityOptions) -> pl.DataFrame:
    """Rows of tables.Capacity of the last checkpoint of a training run.

    Raises:
        UsageError: there is none, it is damaged, or it has another vocabulary than the exam.
    """
    last = checkpoints.chosen(checkpoints.find(folder), 1)[-1]
    places.check_vocabulary(last, exam.data)
    model = modeling.load(last.folder, device=Team(options.device).device)
    lost = {name: losses(model, rows, options.batch_size) for name, rows in exam.questions.items()}
    shape = {"people": exam.world.people, "layers": model.config.n_layer, "width": model.config.n_embd}
    return (
        weigh(exam, lost, options.selection, parameters(model), options.seed)
        .with_columns(pl.lit(size, pl.Int64).alias(name) for name, size in shape.items())
        .with_columns(converged=pl.lit(converged(folder, exam.world), pl.Boolean))
        .select(*columns(tables.Capacity))
    )


def converged(folder: Path, world: Knowable) -> bool | None:
    """Whether the last fifth of training added less than 2 % to the bits known of trained questions.

    By the run's own evaluations; None where it left none.
    """
    if not (folder / "tables" / "curves.parquet").is_file():
        return None
    curves = runs.table(folder, "curves", tables.Curves).filter(pl.col("type").is_in(list(KINDS)))
    steps, lost = curves.group_by("step").agg(pl.col("nll").mean() / np.log(2)).sort("step").to_numpy().T
    before, last = lost[steps <= 0.8 * steps[-1]][-1], lost[-1]
    known = float(np.mean([world.entropy(subject) for subject in world.values])) - last
    return bool(known > 0 and before - last < SETTLED * known)
