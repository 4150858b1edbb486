"""Stage `train-simulator`: a small causal LM learns to predict activations from a description and a text.

Held out are whole neurons; whether it has learnt more than their names is told by correlations on the valid split,
before and after. Choi et al. (2024), section 4.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import actkit
import numpy as np
import polars as pl
import runkit
import torch
from actkit.harvest.identity import identity
from actkit.loading import quiet_unless_watched
from runkit.errors import DataError, UsageError
from runkit.learning import Checkpoints
from runkit.progress import track
from torch import nn
from transformers import PreTrainedTokenizerBase

from expgen import tables
from expgen.options import TrainSimulatorOptions
from expgen.scoring import Trial, statistics
from expgen.scoring.material import material
from expgen.scoring.simulation import Simulation
from expgen.simulating import Simulator, figures
from expgen.simulating.lessons import Lesson, Pupil, divided, lessons, pupils
from expgen.simulating.trained import FOLDER, Card, Trained, levels_of
from expgen.simulating.training import Trainer
from expgen.store import Exemplars
from expgen.subject import Subject

_LAST = 20  # steps whose mean is the loss at the end


def train_simulator(options: TrainSimulatorOptions) -> Path:
    """Run the stage: folder `simulator`, tables `curve` and `simulated`, figure `training`. Returns the run's folder.

    Raises:
        UsageError: a model that cannot simulate (no fast tokenizer, too small a vocabulary, float16).
        DataError: no descriptions; one neuron only; texts longer than the model's context.
    """
    with runkit.stage("expgen.train-simulator", options) as run:
        if not run.finished:
            _train(run, options)
        return run.folder


class _Test(NamedTuple):
    """The held-out features, and where they are looked at."""

    held: list[Pupil]
    exemplars: Exemplars
    options: TrainSimulatorOptions

    def correlations(self, simulator: Simulator) -> pl.DataFrame:
        """Column `r` [features]: of predicted and true activation over the tokens of the valid split."""
        options = self.options
        scorer = Simulation(simulator, self.exemplars, options.seed, options.draws)
        work = [
            (Trial(each.feature, each.descriptions[0]),
             material(self.exemplars, each.feature, "valid", options.top, options.random))
            for each in self.held
        ]  # fmt: skip
        found = zip(work, scorer.evidence(work), strict=True)
        return pl.DataFrame({"r": [scorer.concluded(trial, each).value for (trial, _), each in found]}, {"r": float})


def _train(run: runkit.StageRun, options: TrainSimulatorOptions) -> None:
    exemplars = Exemplars.open(options.exemplars)
    taught, held = divided(pupils(options, exemplars), options.held_out, options.seed)
    model = _load(options)
    base = {"model": options.model, "revision": options.revision, **identity(model)}
    head, ids = cast("nn.Module", model.hf.get_output_embeddings()), levels_of(model)
    simulator = Trained(f"--model {options.model}", model, ids, options.batch_size)
    found = lessons(taught, exemplars, simulator.encoder, model, options)
    run.log(f"{len(taught)} features teach, in {len(found)} lessons; {len(held)} are held out")
    test, measured = _Test(held, exemplars, options), run.parts("simulated")
    for key, _ in measured.missing([("1 before", None)]):
        measured.write(key, test.correlations(simulator).rename({"r": "before"}))
    curve = _taught(run, model, head, found, options)
    run.table("curve", curve, tables.Curve)
    _save(run.folder / FOLDER, model, ids, base)
    run.model(FOLDER, kind="weights", name="simulator")
    for key, _ in measured.missing([("2 after", None)]):
        again = _loaded(run.folder / FOLDER, model, options)
        measured.write(key, test.correlations(Trained(FOLDER, again, ids, options.batch_size)).rename({"r": "after"}))
    _conclude(run, held, pl.concat(measured.pieces(), how="horizontal"), found, curve, options)


def _load(options: TrainSimulatorOptions) -> actkit.Model:
    model = Subject.load(options, options.dtype).model
    if model.hf.dtype == torch.float16:
        raise UsageError(
            f"--model {options.model} is in float16, in which gradients vanish: give --dtype bfloat16 or float32"
        )
    return model


def _taught(
    run: runkit.StageRun, model: actkit.Model, head: nn.Module, found: Sequence[Lesson], options: TrainSimulatorOptions
) -> pl.DataFrame:
    """Train the model, from where it was left; its weights hold what it has learnt. Returns the table `curve`."""
    trainer, checkpoints = Trainer(model.hf, found, options), Checkpoints(run.parts("training"))
    checkpoints.resume(trainer, run.log)
    rates: list[float] = []
    losses: list[torch.Tensor] = []
    for step in track(range(trainer.step + 1, options.steps + 1), "steps of training"):
        rates.append(trainer.rate())
        losses.append(trainer.advance())
        if step % options.save_every == 0 or step == options.steps:
            piece = checkpoints.save(trainer, rates, losses)
            run.metrics({"loss": piece["loss"].to_numpy().mean()}, step)
            rates, losses = [], []
    trainer.finish(head)
    return checkpoints.curve()


def _save(folder: Path, model: actkit.Model, ids: list[int], base: dict[str, Any]) -> None:
    """The whole model, not an adapter of another one: what is in the folder needs nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    with quiet_unless_watched():
        model.hf.save_pretrained(folder)
    cast("PreTrainedTokenizerBase", model.tokenizer).save_pretrained(folder)
    Card.of(folder, ids, base).write(folder)


def _loaded(folder: Path, model: actkit.Model, options: TrainSimulatorOptions) -> actkit.Model:
    """The model as it will be loaded by others. Raises DataError where that is not what was saved."""
    again = actkit.load(folder, dtype=options.dtype, device=options.device)
    if identity(again)["weights"] != identity(model)["weights"]:
        raise DataError(f"{folder}: the model that is loaded from there is not the one that was saved")
    return again


def _conclude(
    run: runkit.StageRun,
    held: Sequence[Pupil],
    measured: pl.DataFrame,
    found: Sequence[Lesson],
    curve: pl.DataFrame,
    options: TrainSimulatorOptions,
) -> None:
    keys = [each.feature._asdict() | {"description": each.descriptions[0]} for each in held]
    simulated = pl.DataFrame(keys).hstack(measured).select(*tables.columns(tables.Simulated))
    run.table("simulated", simulated, tables.Simulated)
    both = simulated.drop_nulls(["before", "after"])
    numbers = _gain(both, options) | {
        "held_out": len(held),
        "held_out_measured": len(both),
        "lessons": len(found),
        "loss": float(curve["loss"].tail(_LAST).to_numpy().mean()),
        "coverage": float(np.mean([each.alignment.coverage for each in found])),
        "shared": float(np.mean([each.alignment.shared for each in found])),
    }
    said = _said(numbers)
    run.figure("training", figures.training(curve, simulated, said))
    run.metrics(numbers)
    run.summary({"held-out features": f"{len(both)} of {len(held)} measured", "correlation": said})


def _gain(both: pl.DataFrame, options: TrainSimulatorOptions) -> dict[str, float]:
    """Mean correlations, and the mean gain with its bootstrap interval over features."""
    if both.is_empty():
        return {}
    gains = (both["after"] - both["before"]).to_numpy()

    def mean(weights: statistics.Weights) -> np.ndarray:
        return weights @ gains / weights.sum(axis=1)

    gain, low, high = statistics.told(mean, len(gains), options.draws, np.random.default_rng(options.seed))
    told = {"before": both["before"].to_numpy().mean(), "after": both["after"].to_numpy().mean(), "gain": gain}
    return told if low is None or high is None else told | {"gain_low": low, "gain_high": high}


def _said(numbers: dict[str, float]) -> str:
    """The gain in words."""
    if "gain" not in numbers:
        return "no held-out feature could be measured both before and after"
    interval = f" [{numbers['gain_low']:+.2f}, {numbers['gain_high']:+.2f}]" if "gain_low" in numbers else ""
    return f"{numbers['before']:.2f} before, {numbers['after']:.2f} after: {numbers['gain']:+.2f}{interval}"
