"""Stage `report`: one self-contained page that tells the argument in order, from the tables of finished runs."""

from pathlib import Path

import runkit
from runkit import files

from cot_neurons.options import ReportOptions
from cot_neurons.pages.evidence import Evidence
from cot_neurons.pages.page import page

NAME = "report.html"


def report(options: ReportOptions) -> Path:
    """Run the stage: `report.html`. Returns its folder.

    Raises:
        UsageError: a run is not there or of another stage, or two runs are of different models.
        DataError: a table of a run is damaged.
    """
    with runkit.stage("cot-neurons.report", options) as run:
        if run.finished:
            return run.folder
        evidence = Evidence.read(options)
        written = page(evidence).encode()
        files.write_bytes(run.folder / NAME, written)
        run.artifact(NAME)
        run.metrics({"runs": len(evidence.made), "neurons": len(evidence.neurons), "bytes": len(written)})
        run.summary({"page": run.folder / NAME, "runs shown": len(evidence.made)})
        return run.folder
