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
        self._training = options.model_dump(include={"profile", "precision", "compile", "device", "threads"})

    def report(self) -> Path:
        """All of it."""
        options = self._options
        facts, pairs = self._world("composition"), self._world("comparison")
        plain = self._train(facts, max_steps=options.max_steps)
        compared = self._train(pairs, max_steps=options.comparison_steps, stop="ood")
        looped = [self._looped(facts, options.loops)] if options.loops > 1 else []
        traced = [self._trace(facts, plain), self._trace(pairs, compared)]
        return report(
            ReportOptions(
                **self._base,
                training=tuple(map(str, [plain, compared, *looped])),
                tracing=tuple(map(str, traced)),
            )
        )

    def _world(self, task: Task) -> Path:
        return data(MakeOptions(**self._base, task=task, profile=self._options.profile))

    def _train(self, world: Path, **given: Any) -> Path:
        made = train(TrainOptions(**self._base, **self._training, data=str(world), **given))
        assert made is not None  # only processes that keep no record give none, and a pipeline is one process
        return made

    def _looped(self, world: Path, loops: int) -> Path:
        """As deep as the plain model, with fewer blocks."""
        depth = TrainOptions(profile=self._options.profile).recipe().layers
        blocks = max(1, depth // loops)
        return self._train(world, max_steps=self._options.max_steps, loops=loops, layers=blocks)

    def _trace(self, world: Path, trained: Path) -> Path:
        options = self._options
        return trace(
            TraceOptions(
                **self._base, data=str(world), checkpoints=str(trained), limit=options.limit, device=options.device
            )
        )
