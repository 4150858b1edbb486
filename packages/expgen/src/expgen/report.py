"""Stage `report`: one self-contained page and a database, from runs of exemplars, describe and score."""

from dataclasses import replace
from pathlib import Path

import actkit
import polars as pl
import runkit
from runkit import files
from runkit.errors import UsageError
from runkit.parts import Parts
from runkit.progress import track

from expgen import database
from expgen.options import ReportOptions
from expgen.pages.evidence import Evidence, Promoted, empty
from expgen.pages.page import page
from expgen.subject import described

NAME = "report.html"
_NEURONS = 4096  # whose promoted tokens are worked out at a time
_TOKENS = 10


def report(options: ReportOptions) -> Path:
    """Run the stage: `report.html` and `neurons.sqlite`. Returns its folder.

    Raises:
        UsageError: a run is not there, of another stage or of another model, or the model is not the one described.
        DataError: a file of a run is damaged.
    """
    with runkit.stage("expgen.report", options) as run:
        if run.finished:
            return run.folder
        evidence = Evidence.read(options)
        if options.model is not None:
            evidence = replace(evidence, promoted=_promoted(options, evidence, run.parts("promoted")))
        database.write(run.folder / database.NAME, evidence)
        written = page(evidence, options.cards).encode()
        files.write_bytes(run.folder / NAME, written)
        run.artifact(database.NAME)
        run.artifact(NAME)
        _conclude(run, evidence, len(written))
        return run.folder


def _conclude(run: runkit.StageRun, evidence: Evidence, size: int) -> None:
    told_of = int((evidence.sides["status"] == "ok").sum())
    scored = evidence.sides["value"].drop_nulls()
    run.metrics({"features": len(evidence.features), "described": told_of, "scored": len(scored), "bytes": size})
    told = {"page": run.folder / NAME, "database": run.folder / database.NAME, "described": f"{told_of:,}"}
    middle = {f"median score ({evidence.scorer})": f"{scored.median():.3f}"} if len(scored) else {}
    run.summary(told | middle | {"to paste texts": f"expgen serve --report {run.folder} --model MODEL"})


def _promoted(options: ReportOptions, evidence: Evidence, parts: Parts) -> pl.DataFrame:
    """What the neurons of mlp_post write to the vocabulary; see `actkit.promoted_tokens`."""
    keys = evidence.features.filter(source="mlp_post").select("layer", "neuron").unique(maintain_order=True)
    if keys.is_empty():
        raise UsageError("--model: promoted tokens are those of MLP neurons (mlp_post); these exemplars have none")
    model = described(options, evidence.exemplars.about)
    chunks = enumerate(keys.iter_slices(_NEURONS))
    for number, chunk in parts.missing(track(chunks, "promoted tokens", -(-len(keys) // _NEURONS))):
        parts.write(number, _tokens(model, chunk))
    return parts.collect()


def _tokens(model: actkit.Model, keys: pl.DataFrame) -> pl.DataFrame:
    """Rows of `Promoted`."""
    found = actkit.promoted_tokens(model, keys.rows(), k=min(_TOKENS, model.dims.vocab))
    told = found.group_by("layer", "neuron", maintain_order=True).agg(
        promotes=pl.col("text").filter(pl.col("pole") == "+"),
        suppresses=pl.col("text").filter(pl.col("pole") == "-"),
    )
    return Promoted.validate(pl.concat([empty(Promoted), told]))
