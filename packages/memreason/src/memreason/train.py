"""Stage `train`: a model learns to write, before each step of a chain, whether it recalls or infers.

Jin et al. (2025), section 3. One arm of the experiment per run; the best of some looks at the dev split is kept.
"""

from pathlib import Path
from typing import NamedTuple

import actkit
import numpy as np
import polars as pl
import runkit
import torch
from runkit.errors import DataError, UsageError
from runkit.learning import Checkpoints
from runkit.progress import track
from runkit.team import Team
from torch import Tensor

from memreason import arms, tables
from memreason.codec import Codec
from memreason.data import Data
from memreason.options import TrainOptions
from memreason.student import FOLDER, Base
from memreason.trace import Item
from memreason.training import adapters, base, figures
from memreason.training.feed import Feed
from memreason.training.lessons import Lessons, lessons
from memreason.training.looks import Dev, Look, Looks, steps
from memreason.training.plans import planned, relabelled
from memreason.training.rows import resized
from memreason.training.saving import Shelf
from memreason.training.trainer import Trainer
from memreason.unwritable import told

_LAST = 20  # steps whose mean is the loss at the end


class _Course(NamedTuple):
    """All that a training is made of. `model`: what is asked at looks; what learns is inside it."""

    model: actkit.Model
    codec: Codec
    base: Base
    lessons: Lessons
    dev: Dev
    feed: Feed
    trainer: Trainer


def train(options: TrainOptions) -> Path | None:
    """Run the stage: folder `student`, tables `curve` and `selection`, figure `training`.

    Started by `accelerate launch` or `torchrun`, every process trains on its share of each batch, and the first keeps
    the record. Returns the run's folder; None in the other processes.

    Raises:
        UsageError: a base that cannot learn so, no split train.
        DataError: unknown kinds, answers outside the choices, traces that do not fit the context.
    """
    team = Team(options.device)
    torch.set_num_threads(options.threads)
    if not team.leads:
        if team.share(None):
            _loop(_course(options, team, None), options, team, None)
        return None
    with runkit.stage("memreason.train", options) as run:
        team.share(not run.finished)
        if not run.finished:
            _lead(run, options, team)
        return run.folder


def _course(options: TrainOptions, team: Team, run: runkit.StageRun | None) -> _Course:
    """The same in every process; what takes long the leader computes for all."""
    if options.mode == "full" and options.token_rate is not None:
        raise UsageError("--token-rate: in mode full new rows are part of matrices that learn as a whole: leave it out")
    team.check(options.batch_size)
    data = Data.open(options.data)
    rows = data.split("train")
    model = base.load(options, team.device)
    if options.arm == "planned":
        rows = relabelled(rows, team.share(_plans(rows, model, options, run)))
    plans = options.plans if options.arm == "planned" else 0
    scheme = arms.scheme(
        options.arm, general=options.general, special=options.special, init=options.init, chat=options.chat, plans=plans
    )
    codec, known = Codec(model.tokenizer, scheme), model.tokenizer  # type: ignore[arg-type]
    found = lessons(rows, data.texts if options.mix else [], codec, model.context, options)
    asked = [row for row in data.items if row.split == "dev"]
    dev = Dev.of(asked, codec, model.context, found.longest_answer, options)
    origin = Base.of(options.model, model, options.revision, options.seed, scheme)
    resized(model.hf, codec, known=known, seed=options.seed)
    learner = adapters.learner(actkit.load(model.hf, tokenizer=codec.tokenizer), codec.new_ids, options)
    feed = Feed(found, options)
    trainer = Trainer(model.hf, learner, feed, options, team)
    return _Course(actkit.load(model.hf, tokenizer=codec.tokenizer), codec, origin, found, dev, feed, trainer)


def _plans(
    rows: list[Item], model: actkit.Model, options: TrainOptions, run: runkit.StageRun | None
) -> list[list[int]]:
    if run is None:
        return []
    parts = run.parts("plans")
    for key, _ in parts.missing([(0, None)]):
        parts.write(key, pl.DataFrame({"plans": planned(rows, model, options)}))
    return parts.collect()["plans"].to_list()


def _lead(run: runkit.StageRun, options: TrainOptions, team: Team) -> None:
    course = _course(options, team, run)
    _say(run, course)
    watch = _Watch(run, course, options)
    _loop(course, options, team, watch)
    watch.conclude()


def _say(run: runkit.StageRun, course: _Course) -> None:
    found, trainer = course.lessons, course.trainer
    whole = sum(each.numel() for each in course.model.hf.parameters())
    run.log(
        f"{trainer.trained:,} numbers learn, of {whole:,}, "
        f"from {len(found.traces):,} traces and {len(found.texts):,} texts in {course.feed.steps:,} steps"
    )
    if found.empty or found.long:
        run.log(f"left out: {found.empty:,} without steps, {found.long:,} longer than the context")
    if found.unwritable:
        count = f"{len(found.traces) + len(found.texts):,} traces and texts"
        run.log(told(course.codec, found.unwritable, count, "learnt"))
    if not course.dev.rows:
        run.log("there is no split dev to choose by: the last step is kept")
    run.metrics({
        "parameters_trained": trainer.trained, "traces": len(found.traces), "without_steps": found.empty,
        "too_long": found.long, "unwritable": len(found.unwritable),
    })  # fmt: skip


class _Watch:
    """The leader's record: checkpoints, looks, the student that is kept."""

    def __init__(self, run: runkit.StageRun, course: _Course, options: TrainOptions) -> None:
        self._run, self._course, self._options = run, course, options
        self._checkpoints = Checkpoints(run.parts("training"))
        self.looks = Looks(run.parts("looks"), options.patience)
        self._shelf = Shelf(run.folder, course.codec, course.base)
        self._checkpoints.resume(course.trainer, run.log)
        self._rates: list[float] = []
        self._losses: list[Tensor] = []

    def step(self, rate: float, loss: Tensor) -> None:
        self._rates.append(rate)
        self._losses.append(loss)

    def look(self) -> None:
        """Look at the dev split, unless that was done; keep the student where it is the best."""
        trainer, dev = self._course.trainer, self._course.dev
        if self.looks.at(trainer.step):
            return
        trainer.learner.eval()
        accuracy, invalid = dev.score(self._course.model, self._course.codec, self._options.batch_size)
        loss = trainer.loss(dev.traces) if dev.traces else None
        look = Look(trainer.step, trainer.step / self._course.feed.per_epoch, len(dev.rows), accuracy, invalid, loss)
        self._run.metrics({"dev_accuracy": accuracy, "dev_invalid": invalid}, trainer.step)
        if self.looks.is_best(look):
            self._shelf.save(trainer.learner)
        self.looks.write(look)

    def save(self) -> None:
        """Raises DataError where the loss is no number any more."""
        piece = self._checkpoints.save(self._course.trainer, self._rates, self._losses)
        lost = piece.filter(~pl.col("loss").is_finite())
        if len(lost):
            raise DataError(f"the loss is no number from step {lost['step'][0]} on: lower --learning-rate")
        self._run.metrics({"loss": float(np.mean(piece["loss"].to_numpy()))}, self._course.trainer.step)
        self._rates, self._losses = [], []

    def conclude(self) -> None:
        """Tables, figure, numbers."""
        run, trainer = self._run, self._course.trainer
        if not self._course.dev.rows:
            self._shelf.save(trainer.learner)
        curve, selection = self._checkpoints.curve(), self.looks.table()
        run.model(FOLDER, kind="weights" if self._options.mode == "full" else "adapter")
        run.table("curve", curve, tables.Curve)
        run.table("selection", selection, tables.Selection)
        run.figure("training", figures.training(curve, selection))
        kept = selection.filter("chosen")
        numbers = {"steps": len(curve), "loss": float(np.mean(curve["loss"].tail(_LAST).to_numpy()))}
        told = {"dev_accuracy": kept["accuracy"][0], "kept_step": kept["step"][0]} if len(kept) else {}
        run.metrics(numbers | told)
        run.summary({"arm": self._options.arm, **numbers, **told})


def _loop(course: _Course, options: TrainOptions, team: Team, watch: _Watch | None) -> None:
    """Steps until it is enough; every process pauses at the same ones, and the leader decides."""
    trainer, total = course.trainer, course.feed.steps
    step, state = team.share((trainer.step, trainer.state() if team.size > 1 and trainer.step else {}))
    if step and not watch:
        trainer.restore(step, state)
    pauses = steps(total, options.looks) if course.dev.rows else set[int]()
    done = team.share(bool(watch and watch.looks.enough(step)))
    for _ in track(range(trainer.step, total), "steps of training"):
        if done:
            return
        rate, loss = trainer.rate(), trainer.advance()
        if watch:
            watch.step(rate, loss)
        if trainer.step in pauses:
            if watch:
                watch.look()
            done = team.share(bool(watch and watch.looks.enough(trainer.step)))
        if watch and (done or trainer.step == total or trainer.step % options.save_every == 0):
            watch.save()
