"""Pipeline `grokking`: a transformer stops memorising and starts to reason, and the circuit that does it forms.

Wang et al. (2024): two-hop composition groks in distribution and not out of it (section 3), comparison groks both ways
(section 4), and blocks that are run twice are what composition would need (section 3.3, appendix E.2).
"""

from pathlib import Path
from typing import Any

import runkit
from grokked_reasoning.data import data
from grokked_reasoning.options import MakeOptions, ReportOptions, TraceOptions, TrainOptions
from grokked_reasoning.profiles import Task
from grokked_reasoning.report import report
from grokked_reasoning.trace import trace
from grokked_reasoning.train import train

from reasonscope.options import GrokkingOptions
from reasonscope.steps import Steps, found, intact


def grokking(options: GrokkingOptions) -> Path:
    """Run data, train, trace and report as children of one run; its page is the report's. Returns the run's folder."""
    with runkit.stage("pipelines.grokking", options) as run:
        return intact(run.folder) if run.finished else _Stages(run, options).concluded()


class _Stages:
    """The stages in their order."""

    def __init__(self, run: runkit.StageRun, options: GrokkingOptions) -> None:
        self._options = options
        self._base: dict[str, Any] = options.model_dump(include={"experiment", "seed", "resume"})
        self._training: dict[str, Any] = options.model_dump(include={"profile", "precision", "compile", "device"})
        self._steps = Steps(run, total=4 + 3 * (options.comparison_steps > 0) + (options.loops > 1))

    def concluded(self) -> Path:
        """All of it."""
        steps, options = self._steps, self._options
        facts = self._world("composition", phi=options.phi)
        pairs = self._world("comparison") if options.comparison_steps else None
        trained = steps.together([(train, each) for each in self._lessons(facts, pairs)], options.at_once)
        traced = [self._trace(facts, trained[0])]
        if pairs:
            traced.append(self._trace(pairs, trained[1]))
        told = ReportOptions(**self._base, training=tuple(map(str, trained)), tracing=tuple(map(str, traced)))
        shown = [trained[0] / "figures" / "curves.png", traced[0] / "figures" / "circuit.png"]
        return steps.conclude(steps(report, told), found(trained[0], "steps", "fitted_step", "grokked_step"), shown)

    def _lessons(self, facts: Path, pairs: Path | None) -> list[TrainOptions]:
        """Composition, comparison, and composition by a looped model as deep as the plain one, with fewer blocks."""
        options, steps = self._options, self._options.max_steps
        asked = [self._lesson(facts, max_steps=steps)]
        if pairs:
            asked.append(self._lesson(pairs, max_steps=options.comparison_steps, stop="ood"))
        if options.loops > 1:
            blocks = max(1, asked[0].recipe().layers // options.loops)
            asked.append(self._lesson(facts, max_steps=steps, loops=options.loops, layers=blocks))
        return asked

    def _world(self, task: Task, phi: float | None = None) -> Path:
        return self._steps(data, MakeOptions(**self._base, task=task, phi=phi, profile=self._options.profile))

    def _lesson(self, world: Path, **given: Any) -> TrainOptions:
        return TrainOptions(**self._base, **self._training, data=str(world), **given)

    def _trace(self, world: Path, trained: Path) -> Path:
        looked: dict[str, Any] = self._options.model_dump(include={"limit", "device"})
        return self._steps(trace, TraceOptions(**self._base, **looked, data=str(world), checkpoints=str(trained)))
