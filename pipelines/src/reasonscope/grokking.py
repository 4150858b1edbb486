"""Pipeline `grokking`: a transformer stops memorising and starts to reason, and the circuit that does it forms.

Wang et al. (2024): two-hop composition groks in distribution and not out of it (section 3), comparison groks both ways
(section 4), and blocks that are run twice are what composition would need (section 3.3, appendix E.2).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import runkit
from grokked_reasoning.data import data
from grokked_reasoning.options import MakeOptions, ReportOptions, TraceOptions, TrainOptions
from grokked_reasoning.profiles import Task
from grokked_reasoning.report import report
from grokked_reasoning.trace import trace
from grokked_reasoning.train import train

from reasonscope.crew import side_by_side
from reasonscope.options import GrokkingOptions


def grokking(options: GrokkingOptions) -> None:
    """Run data, train, trace and report as children of one run; the last is the page."""
    with runkit.stage("pipelines.grokking", options) as run:
        if not run.finished:
            page = _Stages(options).report()
            run.log(f"open {page / 'report.html'}")


class _Stages:
    """The stages in their order."""

    def __init__(self, options: GrokkingOptions) -> None:
        self._options = options
        self._base = options.model_dump(include={"experiment", "seed", "resume"})
        self._training = options.model_dump(include={"profile", "precision", "compile", "device"})

    def report(self) -> Path:
        """All of it."""
        facts, pairs = self._world("composition"), self._world("comparison")
        plain, compared, *looped = self._trained(facts, pairs)
        traced = [self._trace(facts, plain), self._trace(pairs, compared)]
        return report(
            ReportOptions(
                **self._base,
                training=tuple(map(str, [plain, compared, *looped])),
                tracing=tuple(map(str, traced)),
            )
        )

    def _trained(self, facts: Path, pairs: Path) -> Sequence[Path]:
        """Composition, comparison, and composition by a looped model as deep as the plain one, with fewer blocks."""
        options, steps = self._options, self._options.max_steps
        asked = [
            self._lesson(facts, max_steps=steps),
            self._lesson(pairs, max_steps=options.comparison_steps, stop="ood"),
        ]
        if options.loops > 1:
            blocks = max(1, asked[0].recipe().layers // options.loops)
            asked.append(self._lesson(facts, max_steps=steps, loops=options.loops, layers=blocks))
        return side_by_side(_folder, asked, options.at_once)

    def _world(self, task: Task) -> Path:
        return data(MakeOptions(**self._base, task=task, profile=self._options.profile))

    def _lesson(self, world: Path, **given: Any) -> TrainOptions:
        return TrainOptions(**self._base, **self._training, data=str(world), **given)

    def _trace(self, world: Path, trained: Path) -> Path:
        options = self._options
        return trace(
            TraceOptions(
                **self._base, data=str(world), checkpoints=str(trained), limit=options.limit, device=options.device
            )
        )


def _folder(asked: TrainOptions) -> Path:
    """Train, and say where."""
    folder = train(asked)
    assert folder is not None  # only processes that keep no record give none, and no launcher has started this one
    return folder
