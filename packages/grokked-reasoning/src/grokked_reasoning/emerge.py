"""Stage `emerge`: when in training each neuron became what it is in the finished model.

Of every neuron and polarity, over the checkpoints of any causal LM: from which one on does it fire where it fires in
the end, and write what it writes in the end. Grokking is a moment of a whole model (Wang et al. 2024, section 3.1);
this tells which of its neurons were there before.
"""

from pathlib import Path
from typing import NamedTuple

import actkit
import polars as pl
import runkit
from jaxtyping import Int
from runkit import StageRun
from runkit.progress import track
from torch import Tensor

from grokked_reasoning import emerge_figures as figures
from grokked_reasoning import places, tables
from grokked_reasoning.checkpoints import Checkpoint
from grokked_reasoning.emerging import beside, numbers, onset, rows, series, sources, watched
from grokked_reasoning.emerging.series import Series
from grokked_reasoning.emerging.sources import Source
from grokked_reasoning.emerging.watched import Watched
from grokked_reasoning.options import EmergeOptions


def emerge(options: EmergeOptions) -> Path:
    """Run the stage: tables `course` and `emergence`, figure `emergence`, medians over neurons as metrics per step.

    Returns its folder.

    Raises:
        UsageError: fewer than two checkpoints, a damaged one, ones of different models or tokenizers; neurons in
            experts; a model that cannot read the data.
        DataError: the data cannot be read.
    """
    with runkit.stage("grokked-reasoning.emerge", options) as run:
        if run.finished:
            return run.folder
        of = series.asked(options)
        case = _Case.open(options, of, run)
        finished, courses = run.parts("finished"), run.parts("course")
        for key, _ in finished.missing([(0, None)]):
            finished.write(key, rows.portrait(case.beside(case.finished)))
        work = courses.missing((each.step, each) for each in of.checkpoints)
        for step, checkpoint in track(work, "checkpoints", len(of.checkpoints)):
            course = _look(case, checkpoint, of.name)
            run.metrics(numbers.medians(course), checkpoint.step)
            courses.write(step, course)
        run.gather("course", courses, tables.Course)
        table = onset.emergence(courses.pieces, finished.collect(), options.threshold)
        _conclude(run, options, table, case)
        return run.folder


class _Case(NamedTuple):
    """What stays the same over all checkpoints."""

    source: Source
    finished: actkit.Model
    seen: Watched
    strangers: dict[int, Int[Tensor, " N"]]
    room: actkit.Room

    @classmethod
    def open(cls, options: EmergeOptions, of: Series, run: StageRun) -> "_Case":
        """The data read, and the finished model loaded."""
        source = sources.asked(options, run)
        finished, read = source.read(of.finished)
        kept = watched.cut(read, finished, options.seq_len, run)
        seen = Watched(kept, finished, options.batch_size)
        return cls(source, finished, seen, beside.strangers(finished, options.seed), actkit.Room(run.log))

    def beside(self, model: actkit.Model) -> dict[int, beside.Moments]:
        """A model beside the finished one, by layer."""
        return beside.activations(model, self.finished, self.seen, self.strangers, self.room)


def _look(case: _Case, checkpoint: Checkpoint, name: str) -> pl.DataFrame:
    """tables.Course of one checkpoint, whose model is let go of afterwards."""
    model, read = case.source.read(checkpoint.folder)
    series.check_alike(model, case.finished, checkpoint.folder)
    watched.check_same(read, case.seen.rows, checkpoint.folder)
    named = {"model": name, "step": checkpoint.step}
    return rows.course(case.beside(model), model, case.finished, case.strangers, named)


def _conclude(run: StageRun, options: EmergeOptions, table: pl.DataFrame, case: _Case) -> None:
    run.table("emergence", table, tables.Emergence)
    courses = pl.scan_parquet(run.folder / "tables" / "course.parquet")
    events = places.events(options)
    run.figure("emergence", figures.emergence(table, courses, events, options.threshold))
    steps = courses.select(pl.col("step").unique().sort()).collect()["step"].to_list()
    found = {"tokens": case.seen.tokens, "checkpoints": len(steps)}
    run.metrics(found | numbers.results(table, steps, events, options.threshold))
    run.summary(numbers.told(table, steps, options.threshold))
    if not len(table.filter(pl.col("last") >= options.threshold)):
        run.log(
            "not one neuron of the last checkpoint is what it is in the finished model: is --model what this training "
            "ended in?"
        )
