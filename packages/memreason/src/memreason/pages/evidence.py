"""What the page is made from: the tables of finished runs, read once, and held against each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl
from runkit import runs
from runkit.page.sources import Made, Sources

from memreason import comparing, tables
from memreason.options import ReportOptions
from memreason.pages.runs_read import Evaluated, Place, Setting, Started, settings


@dataclass(frozen=True, eq=False)
class Steered:
    """One run of steer."""

    folder: Path
    name: str
    interventions: pl.DataFrame


@dataclass(frozen=True, eq=False)
class Blamed:
    """One run of errors. `of`: the run of evaluate that it is about, where that is on the page."""

    folder: Path
    name: str
    blame: pl.DataFrame
    decoupling: pl.DataFrame
    of: Evaluated | None


@dataclass(frozen=True, eq=False)
class Probed:
    """One run of attention or neurons. `table`: causes or neurons; None where that was not asked for."""

    folder: Path
    name: str
    table: pl.DataFrame | None


@dataclass(frozen=True, eq=False)
class Evidence:
    """All tables; empty or None where no run was named."""

    settings: list[Setting]
    steered: list[Steered]
    blamed: list[Blamed]
    attention: Probed | None
    neurons: Probed | None
    made: list[Made]

    @classmethod
    def read(cls, options: ReportOptions) -> "Evidence":
        """The tables that the options name.

        Raises:
            UsageError: a run is not there, of another stage, counted twice, or was asked other questions of a dataset.
            DataError: a table is damaged.
        """
        find = Sources("memreason")
        evaluated = [Evaluated.read(find(text, "evaluations", "evaluate")) for text in options.evaluations]
        _check_questions(evaluated)
        grouped = settings(evaluated)
        attention = find.perhaps(options.attention, "attention", "attention")
        neurons = find.perhaps(options.neurons, "neurons", "neurons")
        return cls(
            settings=grouped,
            steered=[_steered(find(text, "steering", "steer"), grouped) for text in options.steering],
            blamed=[_blamed(find(text, "errors", "errors"), grouped) for text in options.errors],
            attention=_probed(attention, grouped, "causes", tables.Causes) if attention else None,
            neurons=_probed(neurons, grouped, "neurons", tables.Neurons) if neurons else None,
            made=find.made,
        )

    @cached_property
    def places(self) -> list[Place]:
        """Datasets and splits, in order of appearance."""
        return list(dict.fromkeys(place for each in self.settings for run in each.runs for place in run.places))

    @property
    def datasets(self) -> set[str]:
        return {place.dataset for place in self.places}

    def asked(self, place: Place) -> list[Setting]:
        """The settings that were asked these questions."""
        there = [(each.name, [run for run in each.runs if place in run.places]) for each in self.settings]
        return [Setting(name, found) for name, found in there if found]


def _check_questions(evaluated: Sequence[Evaluated]) -> None:
    """Raises UsageError where two runs were asked other questions of one dataset and split."""
    first: dict[Place, tuple[str, pl.DataFrame]] = {}
    for run in evaluated:
        for place in run.places:
            ours = place.of(run.answers)
            comparing.check_same(*first.setdefault(place, (run.folder.name, ours)), run.folder.name, ours)


def _steered(place: Path, grouped: Sequence[Setting]) -> Steered:
    return Steered(place, _student(place, grouped), runs.table(place, "interventions", tables.Interventions))


def _blamed(place: Path, grouped: Sequence[Setting]) -> Blamed:
    digest = Started.read(place).inputs.get("answers")
    known = {run.digest: (setting.label(run), run) for setting in grouped for run in setting.runs}
    name, run = known.get(digest or "", (place.resolve().name, None))
    return Blamed(
        place.resolve(),
        name,
        runs.table(place, "blame", tables.Blame),
        runs.table(place, "decoupling", tables.Decoupling),
        run,
    )


def _probed(place: Path, grouped: Sequence[Setting], name: str, schema: type) -> Probed:
    there = (place / "tables" / f"{name}.parquet").is_file()
    return Probed(place.resolve(), _student(place, grouped), runs.table(place, name, schema) if there else None)


def _student(place: Path, grouped: Sequence[Setting]) -> str:
    """What a run calls the student that it looked at: its setting or arm and its seed, where known, else the run."""
    taught = Started.read(place).taught()
    if taught is None:
        return place.resolve().name
    alike = (each.name for each in grouped for run in each.runs if run.taught and run.taught.digest == taught.digest)
    return f"{next(alike, taught.arm)}, seed {taught.seed}"
