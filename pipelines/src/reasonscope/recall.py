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
from runkit import runs

from reasonscope.options import MemreasonOptions
from reasonscope.steps import Steps, found, intact

_SPLITS = ("test", "removed")


def memreason(options: MemreasonOptions) -> Path:
    """Run toy, train and evaluate for every arm, then what is asked of the typed one. Returns the run's folder."""
    with runkit.stage("pipelines.memreason", options) as run:
        return intact(run.folder) if run.finished else _Stages(run, options).concluded()


class _Stages:
    """The stages in their order."""

    def __init__(self, run: runkit.StageRun, options: MemreasonOptions) -> None:
        self._options = options
        self._steps = Steps(run, total=6 + 2 * options.seeds * len(options.arms))
        self._base: dict[str, Any] = options.model_dump(include={"experiment", "seed", "resume"})
        self._run: dict[str, Any] = {**self._base, "device": options.device}
        sizes: dict[str, Any] = options.model_dump(include={"people", "hops", "questions", "test"})
        self._world = str(self._steps(toy, ToyOptions(**self._base, **sizes)))

    def concluded(self) -> Path:
        """All of it."""
        options, steps = self._options, self._steps
        seeds = range(options.seed, options.seed + options.seeds)
        lessons = [self._lesson(arm, seed) for seed in seeds for arm in options.arms]
        taught = steps.together([(train, each) for each in lessons], options.at_once)
        asked = steps.together([(evaluate, self._asking(student)) for student in taught], options.at_once)
        typed = options.arms.index("typed")
        steered, *others = self._looked(taught[typed], asked[typed])
        page = steps(report, self._report(asked, steered, *others))
        first = zip(options.arms, asked[: len(options.arms)], strict=True)
        accuracy = {f"accuracy_{arm}": runs.results(each)["test/accuracy"] for arm, each in first}
        rates = found(asked[typed], "test/label_accuracy", "test/memory_recall", "test/reason_valid")
        shown = [asked[typed] / "figures" / "accuracy.png", steered / "figures" / "steering.png"]
        return steps.conclude(page, accuracy | rates, shown)

    def _lesson(self, arm: Arm, seed: int) -> TrainOptions:
        sizes: dict[str, Any] = self._options.model_dump(include={"epochs", "general", "special"})
        given: dict[str, Any] = {**self._run, **sizes, "seed": seed}
        return TrainOptions(**given, data=self._world, model=self._world, arm=arm, mode="full")

    def _asking(self, student: Path) -> EvaluateOptions:
        return EvaluateOptions(**self._run, data=self._world, model=str(student), splits=_SPLITS)

    def _looked(self, typed: Path, answers: Path) -> tuple[Path, Path, Path, Path]:
        """What is asked of the typed student: steering, attention, neurons, errors."""
        student: dict[str, Any] = {**self._run, "data": self._world, "model": str(typed)}
        steered = self._steps(steer, SteerOptions(**student, splits=_SPLITS))
        looked = self._steps(attention, AttentionOptions(**student))
        fired = self._steps(neurons, NeuronsOptions(**student))
        blamed = self._steps(errors, ErrorsOptions(**self._base, answers=str(answers), data=self._world))
        return steered, looked, fired, blamed

    def _report(self, asked: list[Path], steered: Path, looked: Path, fired: Path, blamed: Path) -> ReportOptions:
        return ReportOptions(
            **self._base,
            evaluations=tuple(map(str, asked)),
            steering=(str(steered),),
            errors=(str(blamed),),
            attention=str(looked),
            neurons=str(fired),
        )
