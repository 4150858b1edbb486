"""Stage `data`: make a world of facts, and write it as the paper's code reads it."""

from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import runkit
from runkit.errors import UsageError
from runkit.options import flag, identity

from grokked_reasoning import tables
from grokked_reasoning.options import MakeOptions
from grokked_reasoning.profiles import Task
from grokked_reasoning.worlds import files
from grokked_reasoning.worlds.made import Made

MAKERS: dict[Task, str] = {
    "composition": "grokked_reasoning.worlds.composition",
    "comparison": "grokked_reasoning.worlds.comparison",
    "complex-reasoning": "grokked_reasoning.worlds.complex_reasoning",
    "profiles": "grokked_reasoning.worlds.people",
}
"""Modules with `make(options: MakeOptions, size: World) -> Made`, imported when used."""
TAKES: dict[Task, tuple[str, ...]] = {
    "composition": ("relations", "degree", "phi", "hops", "entity_tokens", "multiplicity", "identity"),
    "comparison": ("relations", "values", "phi"),
    "complex-reasoning": ("relations", "values", "share"),
    "profiles": ("phi", "hops"),
}
"""Options that a task has beside those that all have."""


def data(options: MakeOptions) -> Path:
    """Run the stage: folder `data`, table `splits`, rows per file and type as metrics. Returns its folder.

    Raises:
        UsageError: an option that the task does not have, or sizes that make no world.
    """
    with runkit.stage("grokked-reasoning.data", options) as run:
        if run.finished:
            return run.folder
        check(options)
        world = made(options)
        told = {"task": options.task, "options": identity(options), "sizes": asdict(options.world())}
        rows = files.write(run.folder / "data", world, told)
        run.artifact("data")
        run.table("splits", rows, tables.Splits)
        run.metrics({f"{file}/{kind}": count for file, kind, count in rows.iter_rows()})
        return run.folder


def made(options: MakeOptions) -> Made:
    """The world that is asked for. Raises UsageError where there can be none of these sizes."""
    return import_module(MAKERS[options.task]).make(options, options.world())


def check(options: MakeOptions) -> None:
    """Raises UsageError where an option is given that the task has no use for."""
    known = {name for names in TAKES.values() for name in names}
    fields = MakeOptions.model_fields
    given = [name for name in fields if getattr(options, name) != fields[name].default]
    for name in given:
        if name in known and name not in TAKES[options.task]:
            having = ", ".join(task for task, names in TAKES.items() if name in names)
            raise UsageError(f"{flag(name)} is an option of --task {having}; {options.task} has no use for it")
    if "multiplicity" in given and options.entity_tokens == 1:
        raise UsageError("--multiplicity is for entities of two tokens: give --entity-tokens 2 too")
