"""What is looked at during training, put on record as it happens."""

import math
import time

import numpy as np
import runkit
import torch
from runkit.errors import DataError

from grokked_reasoning import scoring
from grokked_reasoning.dataset import Data, Rows
from grokked_reasoning.options import TrainOptions
from grokked_reasoning.profiles import Recipe
from grokked_reasoning.scoring import Questions
from grokked_reasoning.training.history import Event, History
from grokked_reasoning.training.saving import Learner, Shelf

_ROWS = 2048  # least rows per forward of an evaluation


def evaluates(recipe: Recipe, step: int) -> bool:
    """Whether this step is followed by an evaluation."""
    return step % recipe.evaluate_every == 0 or step >= recipe.max_steps


def saves(recipe: Recipe, step: int) -> bool:
    """Whether a checkpoint belongs here: a dense row of them at first, sparse ones throughout."""
    return step % recipe.save_every == 0 or (step <= recipe.dense_until and step % recipe.dense_every == 0)


class Watch:
    """Evaluates, saves and decides when to stop."""

    def __init__(
        self,
        run: runkit.StageRun,
        data: Data,
        options: TrainOptions,
        shelf: Shelf,
        history: History,
        device: torch.device,
    ) -> None:
        self._run, self._options, self._recipe = run, options, options.recipe()
        self._shelf, self.history = shelf, history
        self._questions = Questions.of(_probes(data.test, options.probes), device, scoring.markers(data.vocabulary))
        self._epochs_per_step = self._recipe.batch_size / len(data.train)
        self._clock = (0, time.perf_counter())

    def look(self, learner: Learner) -> bool:
        """Evaluate and save what is due at the learner's step; whether to stop here.

        Raises:
            DataError: loss or weights are not finite; nothing is saved then. The disk is full.
        """
        told = learner.told()
        if not (math.isfinite(told["loss"]) and math.isfinite(told["weight_norm"])):
            raise DataError(self._diverged(learner.step))
        news = self._evaluate(learner, told) if evaluates(self._recipe, learner.step) else []
        stop = learner.step >= self._recipe.max_steps or self._reached()
        if learner.step and (news or stop or saves(self._recipe, learner.step)):
            self._shelf.save(learner, self.history)
        return stop

    def _evaluate(self, learner: Learner, told: dict[str, float]) -> list[Event]:
        """Accuracy and loss of every type; the events that this evaluation brings."""
        before = {event.event for event in self.history.events() if event.step is not None}
        scores = scoring.measure(learner.model, self._questions, max(_ROWS, self._recipe.batch_size))
        totals = scoring.by_kind(scores, self._questions)
        place = {"step": learner.step, "epoch": learner.step * self._epochs_per_step}
        self.history.curves += [
            {**place, "type": each.kind, "n": each.n, "accuracy": each.accuracy, "nll": each.nll} for each in totals
        ]
        live = {f"accuracy/{each.kind}": each.accuracy for each in totals}
        live |= {f"nll/{each.kind}": each.nll for each in totals}
        self.history.losses.append({"step": learner.step, **told})
        self._run.metrics(live | told | self._pace(learner.step), step=learner.step)
        news = [event for event in self.history.events() if event.step is not None and event.event not in before]
        for event in news:
            self._run.log(_spoken(event))
        return news

    def _pace(self, step: int) -> dict[str, float]:
        last, then = self._clock
        self._clock = (step, time.perf_counter())
        return {"steps_per_second": (step - last) / (self._clock[1] - then)} if step > last else {}

    def _reached(self) -> bool:
        needed = {"never": [], "id": ["grokked_id"], "ood": ["grokked_id", "grokked_ood"]}[self._options.stop]
        return bool(needed) and all(self.history.step_of(event) is not None for event in needed)

    def _diverged(self, step: int) -> str:
        return (
            f"training diverged: loss or weights are not finite at step {step}; {self._shelf.last_whole()}; "
            "lower --learning-rate, or raise --warmup, or use --precision fp32"
        )


def _probes(rows: Rows, most: int) -> Rows:
    """The first rows of each type."""
    kept = [np.flatnonzero(rows.kinds == kind)[:most] for kind in np.unique(rows.kinds)]
    return rows.take(np.sort(np.concatenate(kept)))


def _spoken(event: Event) -> str:
    names = {
        "fitted": "fitted: all training facts are answered",
        "grokked_id": "grokked: unseen inferences from ID facts are answered",
        "grokked_ood": "grokked: unseen inferences from OOD facts are answered",
    }
    seen = [
        f"{name} {value:.3f}"
        for name, value in (("ID", event.id_accuracy), ("OOD", event.ood_accuracy))
        if value is not None
    ]
    return f"step {event.step}: {names[event.event]} (≥ {event.threshold:g}); {', '.join(seen) or 'no inferred facts'}"
