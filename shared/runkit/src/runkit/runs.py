"""Finished runs of other stages, read as a whole: their folder, the tables in it, their results."""

from pathlib import Path

import polars as pl

from runkit import journal, manifest, refs
from runkit.claim import JOURNAL
from runkit.errors import UsageError
from runkit.memory import Memory
from runkit.options import flag
from runkit.tables import Schema, read


def folder(text: str, option: str, stage: str) -> Path:
    """The folder of the finished run of `stage` (`package.command`) that `option` names.

    Raises:
        UsageError: there is none, it is a file, or another stage's run.
    """
    place = refs.resolve(text, stage=stage)
    command = stage.rpartition(".")[2]
    if not place.is_dir():
        raise UsageError(
            f"{flag(option)} {text} is a file: name the folder of the run of {command}, which holds tables/"
        )
    found = manifest.Manifest.read(place)
    if found is None:
        raise UsageError(f"{flag(option)} {text} is no finished run (no {manifest.NAME}): run {command} first")
    if found.stage != stage:
        raise UsageError(f"{flag(option)} {text} is a run of {found.stage}, not of {stage}")
    return place


def table(place: Path, name: str, schema: Schema) -> pl.DataFrame:
    """A table of a run, checked. Raises UsageError where it is not there, DataError where it is damaged."""
    return read(place / "tables" / f"{name}.parquet", schema)


def trusted(place: Path, name: str) -> Path:
    """A table too large to be read at once: its path. Raises DataError where the file is not what the run wrote."""
    path = place / "tables" / f"{name}.parquet"
    manifest.trust(path)
    return path


def results(place: Path) -> dict[str, float]:
    """The metrics of a finished run that have no step, by name, as its journal has them.

    Raises:
        UsageError: the run has not finished.
        DataError: the journal is damaged; the message names it and the line.
    """
    if manifest.Manifest.read(place) is None:
        raise UsageError(f"{place}: no finished run (no {manifest.NAME}), so it has no results yet")
    return Memory([event for event, _ in journal.read(place / JOURNAL)]).results


def verify(place: Path) -> manifest.Manifest:
    """See that a finished run is what its stage wrote: every file, and every line of its journal. Its manifest.

    Raises:
        UsageError: the run has not finished.
        DataError: names every file that is missing or damaged, and the command to rebuild it.
    """
    found = manifest.Manifest.read(place)
    if found is None:
        raise UsageError(f"{place}: the run has not finished; its command, given again, goes on where it stopped")
    found.verify(place)
    journal.check(place / JOURNAL)
    return found
