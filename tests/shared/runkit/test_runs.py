"""What one stage reads of another's run."""

import math
from pathlib import Path

import pytest
import runkit
from runkit import runs
from runkit.errors import DataError, UsageError
from runkit.options import Options


def made(folder: Path, *, twice: bool = False) -> Path:
    with runkit.stage("toy.numbers", Options(out=folder)) as run:
        run.metrics({"loss": 9.0}, step=1)
        run.metrics({"accuracy": 0.5, "share": math.nan})
        if twice:
            run.metrics({"accuracy": 0.75})
    return folder


def test_results_are_the_last_metrics_without_a_step(here: Path):
    found = runs.results(made(here / "o", twice=True))
    assert found["accuracy"] == 0.75
    assert math.isnan(found["share"])
    assert set(found) == {"accuracy", "share"}


def test_a_run_without_an_end_has_no_results_and_a_damaged_journal_is_named(here: Path):
    folder = made(here / "o")
    (folder / "manifest.json").rename(here / "manifest.json")
    with pytest.raises(UsageError, match="no finished run"):
        runs.results(folder)
    (here / "manifest.json").rename(folder / "manifest.json")
    lines = (folder / "journal.jsonl").read_bytes().replace(b"0.5", b"0.6")
    (folder / "journal.jsonl").write_bytes(lines)
    with pytest.raises(DataError, match=r"journal\.jsonl: the line at byte \d+ is damaged"):
        runs.results(folder)
