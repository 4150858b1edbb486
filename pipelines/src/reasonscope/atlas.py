"""Pipeline `atlas`: one table of the neurons of one model, from all that the instruments say of them.

Do neurons that are labelled "addition" (what they promote) get such a description (what they fire on), do they carry
addition, are they those that fire when the model recalls, and when in training did they become what they are?
"""

from pathlib import Path

import polars as pl
import runkit
from cot_neurons import tables as cot

from reasonscope.neurons import figures, questions, tables
from reasonscope.neurons.concepts import Known
from reasonscope.neurons.found import Model, Reader
from reasonscope.neurons.join import joined
from reasonscope.neurons.making import Making, left_out
from reasonscope.neurons.page import Told, page
from reasonscope.options import AtlasOptions
from reasonscope.steps import intact


def atlas(options: AtlasOptions) -> Path:
    """Make what is missing as children of one run, join it, and ask; tables `neurons`, `answers`, `confusion`.

    Returns the run's folder.

    Raises:
        UsageError: fewer than two sources, one named twice, runs of another model, or neurons that this model does not
            have.
        DataError: a table of a run is damaged.
    """
    left_out(options)
    with runkit.stage("pipelines.atlas", options) as run:
        if run.finished:
            return intact(run.folder)
        model = Model.of(options.model, options.revision)
        making = Making(run, options)
        return _concluded(run, making, Reader(making.found(), model), options)


def _concluded(run: runkit.StageRun, making: Making, reader: Reader, options: AtlasOptions) -> Path:
    known = Known.of(reader.table("labels", "coverage", cot.Coverage))
    neurons = joined(reader, known)
    run.table("neurons", neurons, tables.Neurons)
    told = _answers(reader, neurons, options.seed)
    run.table("answers", told, tables.Answers)
    confused = questions.confusion(neurons, known)
    run.table("confusion", confused, tables.Confusion)
    drawn = figures.atlas(told)
    picture = None if drawn is None else run.figure("atlas", drawn).read_bytes()
    missing = {name: making.why[name] for name in reader.found.missing}
    shown = Told(reader.model, neurons, told, confused, picture, missing, reader.found.made)
    return making.steps.conclude(page(shown), _headline(neurons, told))


def _headline(neurons: pl.DataFrame, told: pl.DataFrame) -> dict[str, float]:
    """By question, what was found and what chance gives, over all concepts where it is a share."""
    shares = told.filter(pl.col("of") == "share", pl.col("n") > 0, pl.col("about") != questions.EVERY)
    means = shares.group_by("question", maintain_order=True).agg(
        (pl.col("value") * pl.col("n")).sum() / pl.sum("n"), (pl.col("null") * pl.col("n")).sum() / pl.sum("n")
    )
    numbers = {"neurons": float(len(neurons)), "labelled": float(neurons["concepts"].count())}
    for question, value, null in means.iter_rows():
        name = question.replace(", ", "_")
        numbers |= {name: value, f"{name}_chance": null}
    return numbers


def _answers(reader: Reader, neurons: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Table `answers`."""
    concepts = questions.ARITHMETIC
    rows = [*questions.described(neurons, concepts), *questions.ablated(reader.ablations())]
    counted = reader.table("attribution", "attributions", cot.Attributions)
    if counted is not None:
        rows += questions.carried(neurons, counted, concepts, seed)
    rows += questions.overlap(neurons, concepts)
    rows += questions.emerged(neurons, seed)
    return questions.answers(rows)
