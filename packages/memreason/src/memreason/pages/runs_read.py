"""Runs as the page reads them: their tables, what they were asked, and which student they are about."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
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


class Place(NamedTuple):
    """Questions that were asked together."""

    dataset: str
    split: str

    @property
    def name(self) -> str:
        return f"{self.dataset} {self.split}"

    def of(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The answers to them."""
        return frame.filter(dataset=self.dataset, split=self.split)


@dataclass(frozen=True)
class Learned:
    """Data or a model that a student is from: the same where the content is, whatever its folder is called."""

    digest: str
    name: str = field(compare=False)


class Taught(NamedTuple):
    """The run of train that a student is from. `choices`: all that was chosen, but for the seed."""

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
        start = journal.start(place / JOURNAL)
        if start is None:
            raise UsageError(f"{place} has no {JOURNAL}: it does not tell its options; name the run's own folder")
        return cls(start["options"], start["inputs"], runs.results(place))

    def taught(self) -> Taught | None:
        """Where its `model` is a run of train that is still there, and the same."""
        place = _found(str(self.options["model"]))
        if place is None or provenance.fingerprint(place) != self.inputs.get("model"):
            return None
        train = Started.read(place)
        choices = {name: value for name, value in train.options.items() if name not in _ASIDE}
        choices |= {"model": _base(train), "data": train.learned()}
        return Taught(self.inputs["model"], train.options["arm"], train.options["seed"], choices)

    def learned(self) -> Learned:
        """Of a run of train: what was learned from, in it and in the runs of train before it."""
        text = str(self.options["data"])
        own = Learned(self.inputs.get("data", text), Path(text).name or text)
        place = _found(str(self.options["model"]))
        if place is None:
            return own
        first = Started.read(place).learned()
        return Learned(f"{first.digest} {own.digest}", f"{first.name}, then {own.name}")


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
    def student(self) -> str:
        """The student by its content, where it is on this machine, else by its name."""
        return self.started.inputs.get("model", str(self.started.options["model"]))

    @cached_property
    def places(self) -> list[Place]:
        """What it was asked, in order of appearance."""
        found = self.answers.select("dataset", "split").unique(maintain_order=True)
        return [Place(*row) for row in found.rows()]

    @cached_property
    def choices(self) -> dict[str, Any]:
        """All that was chosen, but for seeds and questions: what runs of one setting have in common."""
        asked = {name: self.started.options.get(name) for name in _ASKED}
        if self.taught:
            return {"arm": self.arm, **self.taught.choices, **asked}
        return {"arm": self.arm, **{name: self.started.options.get(name) for name in ("model", "revision")}, **asked}


@dataclass(frozen=True, eq=False)
class Setting:
    """Runs that differ in nothing but their seeds and questions. `told`: its choices in words."""

    name: str
    runs: list[Evaluated]
    told: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def arm(self) -> str:
        return self.runs[0].arm

    @property
    def choices(self) -> dict[str, Any]:
        """All that was chosen, but for seeds and questions."""
        return self.runs[0].choices

    @property
    def students(self) -> int:
        """How many there are of its students."""
        return len({run.student for run in self.runs})

    def label(self, run: Evaluated) -> str:
        """The run's name among those of its setting that were asked the same."""
        if self.students == 1:
            return self.name
        seed = run.taught.seed if run.taught else self.runs.index(run)
        return f"{self.name}, {'seed' if run.taught else 'run'} {seed}"


def settings(evaluated: Sequence[Evaluated]) -> list[Setting]:
    """The runs by setting, in order of appearance, under names that tell them apart.

    Raises:
        UsageError: of one setting and seed, the same questions were asked twice: they would count as two seeds.
    """
    groups: list[list[Evaluated]] = []
    for each in evaluated:
        alike = next((group for group in groups if group[0].choices == each.choices), None)
        if alike is None:
            groups.append([each])
            continue
        _check_twice(alike, each)
        alike.append(each)
    firsts = [group[0].choices for group in groups]
    return [_setting(group, firsts) for group in groups]


def figures(place: Path) -> dict[str, bytes]:
    """A run's figures by name. Raises DataError where one is not what the run wrote."""
    found: dict[str, bytes] = {}
    for path in sorted((place / "figures").glob("*.png")):
        manifest.trust(path)
        found[path.stem] = path.read_bytes()
    return found


def _check_twice(group: Sequence[Evaluated], run: Evaluated) -> None:
    for other in group:
        twice = next((place.name for place in run.places if place in other.places), None)
        if twice and (who := _one(run, other)):
            raise UsageError(
                f"--evaluations: {other.folder.name} and {run.folder.name} asked {who} the same questions ({twice}) in "
                "the same way: one of them would count as another seed; name one"
            )


def _one(run: Evaluated, other: Evaluated) -> str | None:
    """What makes the students of two runs of one setting one and the same seed."""
    if run.student == other.student:
        return "the same student"
    if run.taught and other.taught and run.taught.seed == other.taught.seed:
        return f"two students of one setting and seed {run.taught.seed}"
    return None


def _setting(group: list[Evaluated], all_: Sequence[dict[str, Any]]) -> Setting:
    """Its name: the arm, and those choices in which it differs from other settings of the same arm."""
    mine = group[0].choices
    others = [each for each in all_ if each["arm"] == mine["arm"]]
    told = {key: _words(value, [each.get(key) for each in all_]) for key, value in mine.items()}
    unlike = [key for key, value in mine.items() if any(each.get(key) != value for each in others)]
    return Setting(", ".join([group[0].arm, *(f"{key.replace('_', ' ')} {told[key]}" for key in unlike)]), group, told)


def _words(value: object, among: Sequence[object]) -> str:
    """A choice in words; data and models of the same name are told apart by their content."""
    if not isinstance(value, Learned):
        return "none" if value is None else str(value)
    alike = any(isinstance(each, Learned) and each.name == value.name and each != value for each in among)
    told = " ".join(each[:6] for each in value.digest.split())
    return f"{value.name} ({told})" if alike else value.name


def _found(text: str) -> Path | None:
    """The folder of a run of train that an option named, where it can still be found."""
    try:
        place = refs.locate(text, stage=TRAIN)
    except UsageError:
        return None
    found = manifest.Manifest.read(place) if isinstance(place, Path) and place.is_dir() else None
    return place if found is not None and found.stage == TRAIN and isinstance(place, Path) else None


def _base(train: Started) -> Learned:
    """The model that was taught: of a student of an earlier run only the arm, since its seed may differ."""
    text = str(train.options["model"])
    if place := _found(text):
        arm = f"student of arm {Started.read(place).options['arm']}"
        return Learned(arm, arm)
    return Learned(train.inputs.get("model", text), Path(text).name or text)
