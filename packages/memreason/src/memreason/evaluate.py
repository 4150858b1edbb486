"""Stage `evaluate`: ask every question once, and measure answers, steps and labels.

Unlike the original's evaluation (of Jin et al. 2025): greedy, every question once, answers read from the answer line
alone, what cannot be read told apart as invalid, intervals and paired tests.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import runkit
from runkit import runs
from runkit.progress import track

from memreason import comparing, evaluate_figures, measured, tables
from memreason.data import Data
from memreason.options import EvaluateOptions
from memreason.questions import Questions, chosen
from memreason.steering.rules import Rules, told
from memreason.student import Student
from memreason.trace import Item
from memreason.world import World

_UNNAMEABLE = re.compile(r"[^\w.:-]+")


def evaluate(options: EvaluateOptions) -> Path:
    """Run the stage: tables `answers`, `checked` (toy worlds) and `pairs` (--against), figure `accuracy`, metrics.

    Returns its folder.

    Raises:
        UsageError: no such split, a student that cannot be loaded, a run of other questions.
        DataError: a gold answer that is none of its choices.
    """
    with runkit.stage("memreason.evaluate", options) as run:
        if run.finished:
            return run.folder
        data = Data.open(options.data)
        items = chosen(data, options)
        rivals = _rivals(options, items)
        student = Student.load(options)
        answers = _asked(run, Questions(student, items, options), options.grammar)
        run.table("answers", answers, tables.Answers)
        metrics = _measured(run, answers, World.load(data.world) if data.world else None, told(student.scheme))
        if rivals:
            pairs = pl.concat(
                comparing.compare(_name(run.folder), answers, name, theirs, options.seed)
                for name, theirs in rivals.items()
            )
            run.table("pairs", pairs, tables.Pairs)
        run.figure("accuracy", evaluate_figures.accuracy(answers, told(student.scheme)))
        _conclude(run, student, answers, metrics)
        return run.folder


def _asked(run: runkit.StageRun, questions: Questions, grammar: bool) -> pl.DataFrame:
    questions.warn(run)
    parts = run.parts("answers")
    batches = questions.batches
    for key, places in track(parts.missing(enumerate(batches)), "batches", len(batches)):
        parts.write(key, questions.ask(places, [Rules()] * len(places) if grammar else None))
    return questions.in_order(parts.pieces())


def _rivals(options: EvaluateOptions, items: list[Item]) -> dict[str, pl.DataFrame]:
    """The runs to compare with, by the names of their folders; held against the questions before any is asked."""
    asked = comparing.asked(items)
    found: dict[str, pl.DataFrame] = {}
    for text in options.against:
        place = runs.folder(text, "against", "memreason.evaluate")
        theirs = runs.table(place, "answers", tables.Answers)
        comparing.check_same("this run", asked, f"--against {text}", theirs)
        found[_name(place) if _name(place) not in found else str(place)] = theirs
    return found


def _measured(
    run: runkit.StageRun, answers: pl.DataFrame, world: World | None, kinds: tuple[str, ...]
) -> dict[str, measured.Metrics]:
    """Metrics of all answers (under ""), and of each dataset and split where there are several."""
    groups = measured.groups(answers)
    parts: Mapping[str, pl.DataFrame] = {"": answers} | (groups if len(groups) > 1 else {})
    found = {name: measured.rates(part, kinds) for name, part in parts.items()}
    if world:
        steps = measured.checked(answers, world)
        run.table("checked", steps, tables.Checked)
        for name, part in parts.items():
            of_part = steps.join(part.select("id"), on="id", how="semi")
            found[name] |= measured.world_rates(part, of_part, world, kinds)
    return found


def _conclude(
    run: runkit.StageRun, student: Student, answers: pl.DataFrame, metrics: Mapping[str, measured.Metrics]
) -> None:
    for group, values in metrics.items():
        prefix = f"{_UNNAMEABLE.sub('_', group)}/" if group else ""
        run.metrics({f"{prefix}{name}": value for name, value in values.items()})
    whole = metrics[""]
    run.tags({"arm": student.scheme.arm, "student": student.name})
    shown: dict[str, object] = {name: value for name, value in whole.items() if not name.startswith("accuracy")}
    shown |= {name: f"{round(whole[name] * len(answers))} of {len(answers)}" for name in ("invalid", "well_formed")}
    if cut := answers.filter(finish="context").height:
        shown["cut off by the context"] = f"{cut} of {len(answers)}"
    low, high = whole["accuracy_low"], whole["accuracy_high"]
    run.summary({"arm": student.scheme.arm, "accuracy": f"{whole['accuracy']:.3f} ({low:.3f} to {high:.3f})"} | shown)


def _name(folder: Path) -> str:
    return folder.resolve().name
