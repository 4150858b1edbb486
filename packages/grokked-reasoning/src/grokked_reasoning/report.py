"""Stage `report`: one self-contained page that tells the argument in order, from the tables of finished runs."""

from pathlib import Path

import runkit
from runkit import files

from grokked_reasoning.options import ReportOptions
from grokked_reasoning.pages.evidence import Evidence
from grokked_reasoning.pages.page import page

NAME = "report.html"


def report(options: ReportOptions) -> Path:
    """Run the stage: `report.html`. Returns its folder.

    Raises:
        UsageError: a run is not there or of another stage, or is named twice.
        DataError: a table or figure of a run is damaged.
    """
    with runkit.stage("grokked-reasoning.report", options) as run:
        if run.finished:
            return run.folder
        evidence = Evidence.read(options)
        written = page(evidence).encode()
        files.write_bytes(run.folder / NAME, written)
        run.artifact(NAME)
        run.metrics({"runs": len(evidence.made), "settings": len(evidence.settings), "bytes": len(written)})
        run.summary({"page": run.folder / NAME, "runs shown": len(evidence.made)})
        return run.folder
