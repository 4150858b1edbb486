"""Runs as the page reads them: their tables, what they were asked, and which student they are about."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from runkit import journal, manifest, provenance, refs, runs
from runkit.claim import JOURNAL
from runkit.errors import UsageError

from memreason import tables

TRAIN = "memreason.train"
_ASKED = ("grammar", "temperature", "top_p", "max_new_tokens", "dtype")
_ASIDE = {"seed", "data", "out", "experiment", "run_name", "config", "resume", "debug", "device", "threads"}


class Taught(NamedTuple):
    """The run of train that a student is from. `choices`: all that was chosen, but for seed and data."""

    digest: str
    arm: str
    seed: int
    choices: dict[str, Any]


class Started(NamedTuple):
    """What a run's journal says: the options it was started with, digests of its inputs, and its last metrics."""

    options: dict[str, Any]
    inputs: dict[str, str]
    metrics: dict[str, float]

    @classmethod
    def read(cls, place: Path) -> "Started":
        """Raises UsageError where the run has no journal."""
        events = journal.intact(place / JOURNAL)
        if not events:
            raise UsageError(f"{place} has no {JOURNAL}: it does not tell its options; name the run's own folder")
        told: dict[str, float] = {}
        for event in events:
            if event["event"] == "metrics" and event["step"] is None:
                told |= event["values"]
        return cls(events[0]["options"], events[0]["inputs"], told)

    def taught(self) -> Taught | None:
        """Where its `model` is a run of train that is still there, and the same."""
        place = _found(str(self.options["model"]))
        if place is None or provenance.fingerprint(place) != self.inputs.get("model"):
            return None
        options = Started.read(place).options
        choices = {name: value for name, value in options.items() if name not in _ASIDE}
        return Taught(self.inputs["model"], options["arm"], options["seed"], choices | {"model": _base(options)})


@dataclass(frozen=True, eq=False)
class Evaluated:
    """One run of evaluate. `checked`: of toy worlds, else None; `taught`: where its student is from, if known."""

    folder: Path
    started: Started
    answers: pl.DataFrame
    checked: pl.DataFrame | None
    taught: Taught | None

    @classmethod
    def read(cls, place: Path) -> "Evaluated":
        """Raises DataError where a table is damaged."""
        started = Started.read(place)
        checked = (place / "tables" / "checked.parquet").is_file()
        return cls(
            place.resolve(),
            started,
            runs.table(place, "answers", tables.Answers),
            runs.table(place, "checked", tables.Checked) if checked else None,
            started.taught(),
        )

    @property
    def digest(self) -> str:
        """By which runs that read it know it."""
        return provenance.fingerprint(self.folder)

    @property
    def arm(self) -> str:
        return str(self.answers["arm"][0])

    @property
    def choices(self) -> dict[str, Any]:
        """All that was chosen, but for seeds: what runs of one setting have in common."""
        asked = {name: self.started.options.get(name) for name in _ASKED}
        student = self.taught.choices if self.taught else {"model": self.started.options["model"]}
        return {"arm": self.arm, **student, **asked}


@dataclass(frozen=True, eq=False)
class Setting:
    """Runs that differ in nothing but their seeds."""

    name: str
    runs: list[Evaluated]

    @property
    def arm(self) -> str:
        return self.runs[0].arm

    @property
    def choices(self) -> dict[str, Any]:
        """All that was chosen, but for seeds."""
        return self.runs[0].choices

    def label(self, run: Evaluated) -> str:
        """The run's name among those of its setting."""
        if len(self.runs) == 1:
            return self.name
        seed = run.taught.seed if run.taught else self.runs.index(run)
        return f"{self.name}, {'seed' if run.taught else 'run'} {seed}"


def settings(evaluated: Sequence[Evaluated]) -> list[Setting]:
    """The runs by setting, in order of appearance, under names that tell them apart.

    Raises:
        UsageError: one run, or one student asked in one way, is there twice: it would count as two seeds.
    """
    groups: list[list[Evaluated]] = []
    for each in evaluated:
        alike = next((group for group in groups if group[0].choices == each.choices), None)
        if alike is None:
            groups.append([each])
            continue
        _check_twice(alike, each)
        alike.append(each)
    return [Setting(_name(group[0], [other[0] for other in groups]), group) for group in groups]


def figures(place: Path) -> dict[str, bytes]:
    """A run's figures by name. Raises DataError where one is not what the run wrote."""
    found: dict[str, bytes] = {}
    for path in sorted((place / "figures").glob("*.png")):
        manifest.trust(path)
        found[path.stem] = path.read_bytes()
    return found


def _check_twice(group: Sequence[Evaluated], run: Evaluated) -> None:
    for other in group:
        if other.digest == run.digest or (run.taught and other.taught and other.taught.digest == run.taught.digest):
            raise UsageError(
                f"--evaluations: {other.folder.name} and {run.folder.name} asked the same student in the same way: one "
                "of them would count as another seed; name one"
            )


def _name(run: Evaluated, all_: Sequence[Evaluated]) -> str:
    """The arm, and those choices in which it differs from other settings of the same arm."""
    others = [each.choices for each in all_ if each.arm == run.arm and each is not run]
    unlike = [key for key, value in run.choices.items() if any(each.get(key) != value for each in others)]
    return ", ".join([run.arm, *(f"{key.replace('_', ' ')} {run.choices[key]}" for key in unlike)])


def _found(text: str) -> Path | None:
    """The folder of a run of train that an option named, where it can still be found."""
    try:
        place = refs.locate(text, stage=TRAIN)
    except UsageError:
        return None
    found = manifest.Manifest.read(place) if isinstance(place, Path) and place.is_dir() else None
    return place if found is not None and found.stage == TRAIN and isinstance(place, Path) else None


def _base(options: dict[str, Any]) -> str:
    """What a student was taught from: of a student of an earlier run only the arm, since its seed may differ."""
    text = str(options["model"])
    if place := _found(text):
        return f"student of arm {Started.read(place).options['arm']}"
    try:
        return str(Path(refs.resolve(text)).resolve())
    except UsageError:  # a hub id, or no longer there
        return text
