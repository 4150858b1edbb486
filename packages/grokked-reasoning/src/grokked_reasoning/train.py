"""Stage `train`: a GPT-2-shaped model from scratch on a world of facts, evaluated on every kind of fact on the way.

Wang et al. (2024), section 3: training goes on far beyond the point where all training facts are fitted.
"""

from pathlib import Path
from typing import Any, cast

import polars as pl
import runkit
import torch
from runkit import files
from runkit.progress import track
from runkit.team import Team
from transformers import PreTrainedModel

from grokked_reasoning import checkpoints, figures, modeling, places, tables
from grokked_reasoning.dataset import Data
from grokked_reasoning.options import TrainOptions
from grokked_reasoning.training.history import History
from grokked_reasoning.training.saving import Shelf
from grokked_reasoning.training.trainer import Trainer
from grokked_reasoning.training.watch import Watch, evaluates, saves


def train(options: TrainOptions) -> Path | None:
    """Run the stage: checkpoints, tables `curves`, `losses` and `events`, figure `curves`.

    Started by `accelerate launch` or `torchrun`, every process trains on its share of each batch, and the first keeps
    the record. Returns the run's folder; None in the other processes.
    """
    team = Team(options.device)
    torch.set_num_threads(options.threads)
    if not team.leads:
        folder = team.share(None)
        if folder is not None:
            _follow(team, options, folder)
        return None
    with runkit.stage("grokked-reasoning.train", options) as run:
        team.share(None if run.finished else run.folder)
        if not run.finished:
            _lead(run, team, options)
        return run.folder


def _lead(run: runkit.StageRun, team: Team, options: TrainOptions) -> None:
    data = places.data(options.data, options.supervise)
    if (data.folder / "world.json").is_file():
        files.write_bytes(run.folder / "world.json", (data.folder / "world.json").read_bytes())
        run.artifact("world.json")
    shelf = Shelf(run.folder / checkpoints.FOLDER, data.vocabulary, options.keep)
    model = untrained(data, options, team)
    run.log(f"{sum(each.numel() for each in model.parameters()):,} parameters, {len(data.train):,} training rows")
    history = History.start(data.world, fitted=options.fitted, grokked=options.grokked, patience=options.patience)
    if options.trainer == "simpletransformers":
        watch = Watch(run, data, options, shelf, history, team.device)
        _by_simpletransformers(run, data, options, model, watch)
    else:
        trainer = Trainer(model, data.train, options, team)
        found = team.share(shelf.newest(run.log))
        if found is not None:
            history = shelf.resume(found, trainer)
        watch = Watch(run, data, options, shelf, history, team.device)
        _loop(trainer, team, options, watch)
    _conclude(run, watch.history)


def _follow(team: Team, options: TrainOptions, folder: Path) -> None:
    """The same steps in a process that keeps no record."""
    data = places.data(options.data, options.supervise)
    trainer = Trainer(untrained(data, options, team), data.train, options, team)
    found = team.share(None)
    if found is not None:
        Shelf(folder / checkpoints.FOLDER, data.vocabulary, options.keep).resume(found, trainer)
    _loop(trainer, team, options, None)


def untrained(data: Data, options: TrainOptions, team: Team) -> PreTrainedModel:
    """The model before its first step: a function of the options and the data's sizes."""
    recipe = options.recipe()
    torch.manual_seed(options.seed)
    model = modeling.build(
        len(data.vocabulary),
        layers=recipe.layers,
        width=recipe.width,
        heads=recipe.heads,
        positions=data.positions,
        loops=options.loops,
        dropout=options.dropout,
    )
    return cast("Any", model).to(team.device)


def _loop(trainer: Trainer, team: Team, options: TrainOptions, watch: Watch | None) -> None:
    """Steps until it is enough; every process pauses at the same ones, and the leader decides."""
    recipe = options.recipe()
    if watch and trainer.step == 0:
        watch.look(trainer)
    trainer.settle()
    for _ in track(range(trainer.step, recipe.max_steps), "steps"):
        trainer.advance()
        if evaluates(recipe, trainer.step) or saves(recipe, trainer.step):
            if team.share(watch.look(trainer) if watch else False):
                return
            trainer.settle()


def _by_simpletransformers(
    run: runkit.StageRun, data: Data, options: TrainOptions, model: PreTrainedModel, watch: Watch
) -> None:
    from grokked_reasoning.training.simple import train_simple

    train_simple(data, options, model, run.folder, watch.look)


def _conclude(run: runkit.StageRun, history: History) -> None:
    curves, losses, events = history.tables()
    run.table("curves", curves, tables.Curves)
    run.table("losses", losses, tables.Losses)
    run.table("events", events, tables.Events)
    run.figure("curves", figures.curves(curves, events))
    _register(run, history)
    run.artifact(checkpoints.FOLDER)
    last = curves.filter(pl.col("step") == curves["step"].max())
    steps = {f"{event.event}_step": event.step for event in history.events() if event.step is not None}
    run.metrics({"steps": float(last["step"][0]), **steps})
    told = {
        f"accuracy/{kind}": f"{value:.3f} of {n:,}"
        for kind, value, n in last.select("type", "accuracy", "n").iter_rows()
    }
    run.summary({"steps": last["step"][0], **steps, **told})


def _register(run: runkit.StageRun, history: History) -> None:
    """The models of the moments that matter, and the last one."""
    found = {each.step: each for each in checkpoints.find(run.folder)}
    moments = {event.step: event.event for event in history.events() if event.step in found} | {max(found): "last"}
    for step, kind in sorted(moments.items()):
        run.model(found[step].folder.relative_to(run.folder), kind=kind)
