"""Pipeline `memreason`: can a model say when it remembers and when it reasons, and is it true?

Jin et al. (2025) with controls: the same data, model, seed and budget in every arm, on a toy world whose steps are
checked exactly.
"""

from pathlib import Path
from typing import Any

import runkit
from memreason.attention import attention
from memreason.errors import errors
from memreason.evaluate import evaluate
from memreason.neurons import neurons
from memreason.options import (
    AttentionOptions,
    ErrorsOptions,
    EvaluateOptions,
    NeuronsOptions,
    ReportOptions,
    SteerOptions,
    ToyOptions,
    TrainOptions,
)
from memreason.report import report
from memreason.scheme import Arm
from memreason.steer import steer
from memreason.toy import toy
from memreason.train import train

from reasonscope.crew import side_by_side
from reasonscope.options import MemreasonOptions

_SPLITS = ("test", "removed")


def memreason(options: MemreasonOptions) -> None:
    """Run toy, train and evaluate for every arm, then what is asked of the typed one; the last is the page."""
    with runkit.stage("pipelines.memreason", options) as run:
        if not run.finished:
            run.log(f"open {_Stages(options).report() / 'report.html'}")


class _Stages:
    """The stages in their order."""

    def __init__(self, options: MemreasonOptions) -> None:
        self._options = options
        self._base: dict[str, Any] = options.model_dump(include={"experiment", "seed", "resume"})
        self._run: dict[str, Any] = {**self._base, "device": options.device}
        sizes: dict[str, Any] = options.model_dump(include={"people", "hops", "questions", "test"})
        self._world = str(toy(ToyOptions(**self._base, **sizes)))

    def report(self) -> Path:
        """All of it."""
        seeds = range(self._options.seed, self._options.seed + self._options.seeds)
        lessons = [self._lesson(arm, seed) for seed in seeds for arm in self._options.arms]
        taught = side_by_side(_taught, lessons, self._options.at_once)
        asked = side_by_side(evaluate, [self._asking(student) for student in taught], self._options.at_once)
        typed = self._options.arms.index("typed")
        return self._told(asked, taught[typed], asked[typed])

    def _lesson(self, arm: Arm, seed: int) -> TrainOptions:
        sizes: dict[str, Any] = self._options.model_dump(include={"epochs", "general", "special"})
        given: dict[str, Any] = {**self._run, **sizes, "seed": seed}
        return TrainOptions(**given, data=self._world, model=self._world, arm=arm, mode="full")

    def _asking(self, student: Path) -> EvaluateOptions:
        return EvaluateOptions(**self._run, data=self._world, model=str(student), splits=_SPLITS)

    def _told(self, asked: list[Path], typed: Path, answers: Path) -> Path:
        """What is asked of the typed student, and the page of all."""
        student: dict[str, Any] = {**self._run, "data": self._world, "model": str(typed)}
        steered = steer(SteerOptions(**student, splits=_SPLITS))
        looked = attention(AttentionOptions(**student))
        fired = neurons(NeuronsOptions(**student))
        blamed = errors(ErrorsOptions(**self._base, answers=str(answers), data=self._world))
        return report(
            ReportOptions(
                **self._base,
                evaluations=tuple(map(str, asked)),
                steering=(str(steered),),
                errors=(str(blamed),),
                attention=str(looked),
                neurons=str(fired),
            )
        )


def _taught(asked: TrainOptions) -> Path:
    """Train, and say where."""
    folder = train(asked)
    assert folder is not None  # only processes that keep no record give none, and no launcher has started this one
    return folder
