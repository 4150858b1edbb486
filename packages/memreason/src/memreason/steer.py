"""Stage `steer`: force and forbid kinds of steps, supply facts, and see what becomes of steps and answers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import runkit
from pydantic import BaseModel, StringConstraints
from runkit import data as rows
from runkit.errors import UsageError, nearest
from runkit.progress import track

from memreason import comparing, measured, steer_figures, tables
from memreason.data import Data
from memreason.options import SteerOptions
from memreason.questions import Questions, chosen
from memreason.steering.interventions import GROUP, NONE, Intervention, interventions, left_out
from memreason.steering.obeying import followed, told
from memreason.student import Student
from memreason.tables import columns
from memreason.trace import Item
from memreason.world import World

_Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, pattern=r"^[^\n]*$")]


class FactRow(BaseModel):
    """A fact that is to be written as a memory step of the answer to question `id`."""

    id: str
    fact: _Line


def steer(options: SteerOptions) -> Path:
    """Run the stage: tables `interventions` and `answers`, figure `steering`, metrics. Returns its folder.

    Every way of steering, and none, is decoded under the grammar, so that they differ in the steering alone. Metrics
    `change/WAY` and `p/WAY`: accuracy less that without steering on the same questions, and McNemar's exact test.

    Raises:
        UsageError: nothing to steer, a kind that the student's arm does not tell, facts about no question asked.
        DataError: rows of --facts that are none.
    """
    with runkit.stage("memreason.steer", options) as run:
        if run.finished:
            return run.folder
        data = Data.open(options.data)
        items = chosen(data, options)
        facts = _facts(run, options, data, items)
        student = Student.load(options)
        Questions(student, items, options).warn(run)
        world = World.load(data.world) if data.world else None
        ways = interventions(options, items, student.scheme, world, facts)
        for reason in left_out(options, student.scheme, world):
            run.log(reason)
        answers = _answers(run, student, items, options, ways)
        run.table("answers", answers, tables.Steered)
        table = _table(ways, answers, world)
        run.table("interventions", table, tables.Interventions)
        run.figure("steering", steer_figures.steering(table))
        run.tags({"arm": student.scheme.arm, "student": student.name})
        _conclude(run, table, answers, ways)
        return run.folder


def _facts(run: runkit.StageRun, options: SteerOptions, data: Data, items: Sequence[Item]) -> dict[str, list[str]]:
    """What --facts supplies, by id."""
    found: dict[str, list[str]] = {}
    if options.facts is None:
        return found
    for row in rows.load_rows(options.facts, FactRow, unique=("id", "fact"), run=run):
        found.setdefault(row.id, []).append(row.fact)
    known = {item.id for item in data.items}
    if unknown := [key for key in found if key not in known]:
        raise UsageError(f"--facts {options.facts}: {options.data} has no question {unknown[0]}; "
                         f"{nearest(unknown[0], known)}")  # fmt: skip
    asked = {item.id for item in items} & set(found)
    if not asked:
        raise UsageError(
            f"--facts {options.facts}: none is about a question of {', '.join(options.splits)} that is asked"
        )
    if aside := len(found) - len(asked):
        run.log(f"facts about {aside} questions that are not asked are left aside (--splits, --limit)")
    return {key: found[key] for key in found if key in asked}


def _answers(
    run: runkit.StageRun,
    student: Student,
    items: Sequence[Item],
    options: SteerOptions,
    ways: Sequence[Intervention],
) -> pl.DataFrame:
    """The answers to all questions, way by way (`tables.Steered`)."""
    parts = run.parts("answers")
    asked = [Questions(student, [item for item in items if item.id in way.rules], options) for way in ways]
    work = [
        (f"{number:02d}.{batch:06d}", (number, places))
        for number, questions in enumerate(asked)
        for batch, places in enumerate(questions.batches)
    ]
    for key, (number, places) in track(parts.missing(work), "batches", len(work)):
        way, questions = ways[number], asked[number]
        answers = questions.ask(places, [way.rules[questions.items[place].id] for place in places])
        parts.write(str(key), answers.select(pl.lit(way.name).alias("intervention"), pl.all()))
    done = parts.collect()
    return pl.concat(
        questions.in_order([done.filter(intervention=way.name)]) for way, questions in zip(ways, asked, strict=True)
    )


def _table(ways: Sequence[Intervention], answers: pl.DataFrame, world: World | None) -> pl.DataFrame:
    """A row per way; with several splits or datasets, also one for each of them that it is about."""
    groups = measured.groups(answers)
    records: list[dict[str, Any]] = []
    for way in ways:
        parts = {way.name: answers} | ({f"{way.name}{GROUP}{name}": part for name, part in groups.items()}
                                       if len(groups) > 1 else {})  # fmt: skip
        of_way = {name: part.filter(intervention=way.name) for name, part in parts.items()}
        records += [told(name, way, part, world) for name, part in of_way.items() if len(part)]
    return pl.DataFrame(records, schema=columns(tables.Interventions))


def _conclude(run: runkit.StageRun, table: pl.DataFrame, answers: pl.DataFrame, ways: Sequence[Intervention]) -> None:
    plain = answers.filter(intervention=NONE)
    for way in ways:
        run.metrics({f"{what}/{way.name}": share for what, share in _shares(table, way.name).items()})
        same = plain.filter(pl.col("id").is_in(list(way.rules)))
        if way.name != NONE:  # on the same questions
            pair = comparing.compare(way.name, answers.filter(intervention=way.name), NONE, same, run.options.seed)
            change, p = pair.select("difference", "p").row(-1)
            run.metrics({f"change/{way.name}": change, f"p/{way.name}": p})
        if way.leads:
            run.metrics({f"followed/{NONE}": followed(same, way.leads) / len(same)})
    run.summary({name: f"accuracy {accuracy:.3f} ({low:.3f} to {high:.3f})" for name, accuracy, low, high in
                 table.select("name", "accuracy", "low", "high").iter_rows()})  # fmt: skip


def _shares(table: pl.DataFrame, name: str) -> dict[str, float]:
    """The shares of one way of steering that there are."""
    row = table.row(by_predicate=pl.col("name") == name, named=True)
    of = {"obeyed": row["asked"], "meant": row["asked"], "followed": row["n"]}
    told = {what: row[what] / n for what, n in of.items() if n and row[what] is not None}
    return {"accuracy": row["accuracy"]} | told
