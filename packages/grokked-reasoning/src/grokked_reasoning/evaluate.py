"""Stage `evaluate`: accuracy and loss of every checkpoint on every type of fact.

Accuracies come from one forward per batch (`scoring`). The original code decodes greedily up to 10 tokens, cuts at the
first `</a>` and compares texts (eval_qa.py); `published_format` writes what that code reads, decoded just so.
"""

from pathlib import Path
from typing import Any

import orjson
import polars as pl
import runkit
import torch
from runkit import files
from runkit.progress import track
from runkit.team import Team

from grokked_reasoning import circuit_figures, dataset, modeling, places, scoring, symbols, tables
from grokked_reasoning.checkpoints import Checkpoint
from grokked_reasoning.dataset import Data
from grokked_reasoning.options import EvaluateOptions
from grokked_reasoning.published import decoded
from grokked_reasoning.vocabulary import END

PUBLISHED = "published"


def evaluate(options: EvaluateOptions) -> Path:
    """Run the stage: table `accuracy`, figure `accuracy`, a curve per type as metrics. Returns its folder.

    Raises:
        UsageError: no checkpoints, a damaged one, or one of another vocabulary.
        DataError: the data cannot be read.
    """
    with runkit.stage("grokked-reasoning.evaluate", options) as run:
        if run.finished:
            return run.folder
        found, folder = places.asked(options)
        data = dataset.read(folder, "target", train=False)
        device = Team(options.device).device
        parts = run.parts("accuracy")
        for _, checkpoint in track(parts.missing((each.step, each) for each in found), "checkpoints", len(found)):
            frame = _look(run, checkpoint, data, options, device)
            for metric in ("accuracy", "nll"):
                run.metrics(
                    {f"{metric}/{kind}": x for kind, x in frame.select("type", metric).iter_rows()}, checkpoint.step
                )
            parts.write(checkpoint.step, frame)
        _conclude(run, parts.collect())
        return run.folder


def _look(
    run: runkit.StageRun, checkpoint: Checkpoint, data: Data, options: EvaluateOptions, device: torch.device
) -> pl.DataFrame:
    """One row per type (tables.Accuracy)."""
    ids = symbols.ids(checkpoint, data)
    model = modeling.load(checkpoint.folder, loops=options.loops, device=device)
    rows, aside = symbols.mapped(data.test, ids), ids[scoring.markers(data.vocabulary)].tolist()
    questions = scoring.Questions.of(rows, device, aside)
    totals = scoring.by_kind(scoring.measure(model, questions, options.batch_size), questions)
    ends = END in data.vocabulary.ids and any(each.exact > 0 for each in totals)
    if options.published_format:
        items = decoded(model, data, ids, options.batch_size, ends=ends)
        place = run.folder / PUBLISHED / checkpoint.folder.name / "all_items.json"
        files.write_bytes(place, orjson.dumps(items, option=orjson.OPT_INDENT_2))
        run.log(told(checkpoint.folder.name, items))
    records = [
        (checkpoint.step, each.kind, each.n, each.accuracy, each.exact if ends else None, each.nll) for each in totals
    ]
    columns = {"step": int, "type": str, "n": int, "accuracy": float, "exact": float, "nll": float}
    return pl.DataFrame(records, columns, orient="row")


def told(name: str, items: list[dict[str, Any]]) -> str:
    """A line as eval_qa.py prints it: `checkpoint-N | type: accuracy; ...`, of decoded rows."""
    hits: dict[str, list[bool]] = {}
    for item in items:
        hits.setdefault(item["type"], []).append(item["model_output"] == item["target_text"])
    return f"{name} | " + "; ".join(f"{kind}: {round(sum(each) / len(each), 3)}" for kind, each in hits.items())


def _conclude(run: runkit.StageRun, accuracy: pl.DataFrame) -> None:
    run.table("accuracy", accuracy, tables.Accuracy)
    run.figure("accuracy", circuit_figures.accuracy(accuracy))
    if (run.folder / PUBLISHED).is_dir():
        run.artifact(PUBLISHED)
    last = accuracy.filter(pl.col("step") == accuracy["step"].max())
    run.metrics(
        {"checkpoints": accuracy["step"].n_unique()}
        | {f"accuracy {kind}": value for kind, value in last.select("type", "accuracy").iter_rows()}
    )
