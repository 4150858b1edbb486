"""Stage `activity`: how active each concept's neurons are under different prompts, held against accuracy.

The step of Rai & Yao (2024), section 5, that their published code leaves out. Finished chains are read once, prompt and
answer, and at every step up to the answer's end the concept's neurons among the strongest of their layer are counted.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import actkit
import polars as pl
import runkit
from runkit.progress import track

from cot_neurons import sources, tables
from cot_neurons.activities import figures, summaries
from cot_neurons.activities.levels import Levels
from cot_neurons.finished import finished
from cot_neurons.options import ActivityOptions
from cot_neurons.subject import Subject
from cot_neurons.variants import variants

_METRIC = re.compile(r"[^\w.-]")  # what a prompt file's name may hold and a metric's may not


def activity(options: ActivityOptions) -> Path:
    """Run the stage: tables `item_activity`, `activity`, `correlations`; figures `activity`, `activity_by_tag`.

    Returns its folder.
    """
    with runkit.stage("cot-neurons.activity", options) as run:
        if run.finished:
            return run.folder
        subject = Subject.load(options)
        labels = sources.labels(options.labels, subject)
        levels = Levels(subject, labels, options.k)
        runs = variants([("items", text) for text in options.items], subject, run.log)
        compared = {name: items.slice(0, options.limit) for name, items in runs.items()}
        parts = run.parts("items")
        work = [
            (f"{i:04d}-{j:06d}", (name, chains))
            for i, (name, items) in enumerate(compared.items())
            for j, chains in enumerate(finished(items, subject, options.batch_size))
        ]
        room = actkit.Room(run.log)
        for key, (name, chains) in track(parts.missing(work), "batches", len(work)):
            found = pl.concat(chains.within(room, levels))
            parts.write(key, found.select(pl.lit(name).alias("variant"), pl.all()))
        run.metrics({"neurons": labels.n_unique(subset=["layer", "neuron", "polarity"])})
        _conclude(run, parts.collect(), compared, levels.sizes, options.seed)
        return run.folder


def _conclude(
    run: runkit.StageRun, found: pl.DataFrame, compared: Mapping[str, pl.DataFrame], sizes: dict[str, int], seed: int
) -> None:
    right = pl.concat(
        items.select(pl.lit(name).alias("variant"), "row", right="correct_strict") for name, items in compared.items()
    )
    joined = found.join(right, on=["variant", "row"], how="left", maintain_order="left")
    items = joined.select(*tables.columns(tables.ItemActivity)).sort("variant", "row", "concept", "tag")
    whole, accuracy = summaries.with_all_tags(items), summaries.accuracies(compared)
    means = summaries.activity(whole, accuracy, seed)
    correlations = summaries.correlations(whole, compared, seed)
    run.table("item_activity", items, tables.ItemActivity)
    run.table("activity", means, tables.Activity)
    run.table("correlations", correlations, tables.Correlations)
    run.figure("activity", figures.by_variant(means, correlations, sizes))
    run.figure("activity_by_tag", figures.by_tag(means, sizes))
    shared = len(next(iter(compared.values())))
    run.metrics(
        {"variants": len(compared), "items": shared, "concepts": len(sizes)}
        | {f"accuracy/{_METRIC.sub('_', name)}": value for name, value in accuracy.items()}
    )
    run.summary({"variants": len(compared), "items of each": shared} | figures.told(correlations))
