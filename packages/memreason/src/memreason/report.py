"""Stage `report`: one self-contained page that tells the argument in order, from the tables of finished runs."""

from pathlib import Path

import runkit
from runkit import files

from memreason import tables
from memreason.options import ReportOptions
from memreason.pages import paired
from memreason.pages.evidence import Evidence
from memreason.pages.page import page

NAME = "report.html"


def report(options: ReportOptions) -> Path:
    """Run the stage: `report.html`, table `pairs`. Returns its folder.

    Raises:
        UsageError: a run is not there, of another stage, counted twice, or was asked other questions of a dataset.
        DataError: a table or figure of a run is damaged.
    """
    with runkit.stage("memreason.report", options) as run:
        if run.finished:
            return run.folder
        evidence = Evidence.read(options)
        contests = [(place, paired.contests(evidence, place, options.seed)) for place in evidence.places]
        written = page(evidence, contests, options.shown).encode()
        files.write_bytes(run.folder / NAME, written)
        run.artifact(NAME)
        run.table("pairs", paired.table([each for _, found in contests for each in found]), tables.Pairs)
        runs = sum(len(each.runs) for each in evidence.settings)
        run.metrics({"arms": len(evidence.settings), "evaluations": runs, "bytes": len(written)})
        run.summary({"page": run.folder / NAME, "arms": len(evidence.settings), "runs of evaluate": runs})
        return run.folder
