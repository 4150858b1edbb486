"""Stage `capacity`: how many bits of knowledge a model holds per parameter, over sizes of models and worlds.

Johnston & Belrose (2025, 2502.03490); Allen-Zhu & Li (2024, 2404.05405) find 2 bits per parameter after 1000 exposures
of every fact, and 1 bit after 100.
"""

from pathlib import Path

import polars as pl
import runkit
from runkit import refs
from runkit.errors import UsageError
from runkit.options import flag
from runkit.progress import track

from grokked_reasoning import capacity_figures, places, tables
from grokked_reasoning.capacities.bits import ALL
from grokked_reasoning.capacities.measure import measured
from grokked_reasoning.capacities.questions import exam
from grokked_reasoning.capacities.sweep import Sweep
from grokked_reasoning.options import TRAIN, CapacityOptions

_SWEEP = ("people", "layers", "widths", "phi", "exposures", "learning_rate")


def capacity(options: CapacityOptions) -> Path:
    """Run the stage: table `capacity`, figure `capacity`, the best bits per parameter as metrics. Returns its folder.

    Raises:
        UsageError: --checkpoints without --data or with an option of the sweep, or --data alone.
    """
    _check(options)
    with runkit.stage("grokked-reasoning.capacity", options) as run:
        if run.finished:
            return run.folder
        found = _swept(run, options) if options.checkpoints is None else _existing(options)
        run.table("capacity", found, tables.Capacity)
        run.figure("capacity", capacity_figures.capacity(found))
        _tell(run, found)
        return run.folder


def _swept(run: runkit.StageRun, options: CapacityOptions) -> pl.DataFrame:
    """One model after the other, each a piece."""
    parts, sweep = run.parts("models"), Sweep(options)
    sizes = sweep.sizes()
    for key, size in track(parts.missing(enumerate(sizes)), "models", len(sizes)):
        parts.write(key, sweep(size))
    return parts.collect()


def _existing(options: CapacityOptions) -> pl.DataFrame:
    return measured(refs.resolve(str(options.checkpoints), **TRAIN), exam(places.data(str(options.data))), options)


def _check(options: CapacityOptions) -> None:
    if (options.checkpoints is None) != (options.data is None):
        raise UsageError("--checkpoints and --data go together: a training run, and the profiles it was trained on")
    fields = CapacityOptions.model_fields
    given = [name for name in _SWEEP if getattr(options, name) != fields[name].default]
    if options.checkpoints is not None and given:
        raise UsageError(f"{flag(given[0])} is for models yet to be trained: --checkpoints are as they are")


def _tell(run: runkit.StageRun, found: pl.DataFrame) -> None:
    """The best of every scheme as metrics, and the models of one-hop questions at the terminal."""
    totals = found.filter(attribute=ALL)
    best = totals.group_by("questions", "scheme").agg(pl.col("bits_per_parameter").max()).sort("questions", "scheme")
    run.metrics({f"{questions} {scheme} best bits per parameter": bits for questions, scheme, bits in best.iter_rows()})
    models = totals.filter(questions="one-hop", scheme="average")
    run.metrics({"models": len(models), "models_converged": int(models["converged"].sum())})
    told = {
        f"{row['people']:,} people, {row['layers']} layers, width {row['width']}": (
            f"{row['capacity']:,.0f}  ({row['bits_per_parameter']:.2f})"
        )
        for row in models.iter_rows(named=True)
    }
    run.summary({"model": "bits of facts known (per parameter)"} | told)
