"""Stage `trace`: logit lens and causal tracing over checkpoints, and when the circuit of the reasoning forms.

Wang et al. (2024), section 3.3 and figures 4 and 5; section 4 for comparison.
"""

from pathlib import Path

import numpy as np
import polars as pl
import runkit
import torch
from jaxtyping import Int
from runkit.progress import track
from runkit.team import Team

from grokked_reasoning import circuit_figures, dataset, modeling, places, symbols, tables
from grokked_reasoning.circuit_figures import Course
from grokked_reasoning.options import TraceOptions
from grokked_reasoning.tracing import causal, draw, facts, lens
from grokked_reasoning.tracing.examples import Examples
from grokked_reasoning.tracing.layers import opened


def trace(options: TraceOptions) -> Path:
    """Run the stage: tables `lens` and `effects`, figures `circuit` and `lens`, their peaks as metrics per step.

    With `targets` the effect on inner states is measured too; see `tracing.causal.strengths`. Returns its folder.

    Raises:
        UsageError: no checkpoints, a damaged one, one of another vocabulary; a task, split or entities that cannot be
            traced.
        DataError: the data cannot be read.
    """
    with runkit.stage("grokked-reasoning.trace", options) as run:
        if run.finished:
            return run.folder
        found, folder = places.asked(options)
        data = dataset.read(folder, "answer", train=not (folder / facts.FILE).is_file())
        examples = draw.examples(data, options.split, options.limit, options.seed)
        device = Team(options.device).device
        readings, effects = run.parts("lens"), run.parts("effects")
        work = effects.missing(((each.step, each) for each in found), readings)
        for _, checkpoint in track(work, "checkpoints", len(found)):
            step, ids = checkpoint.step, symbols.ids(checkpoint, data)
            seen, caused = look(options, checkpoint.folder, examples, ids, device)
            run.metrics(circuit_figures.peaks(seen, caused, examples.home), step)
            at = pl.lit(step, pl.Int64).alias("step")
            readings.write(step, seen.select(at, pl.all()))
            effects.write(step, caused.select(at, pl.all()))
        _conclude(
            run, readings.collect(), effects.collect(), Course(places.events(options), examples.home, examples.tokens)
        )
        return run.folder


def look(
    options: TraceOptions, folder: Path, examples: Examples, ids: Int[np.ndarray, " V"], device: torch.device
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Lens and effects of one checkpoint (tables.Lens and tables.Effects, but step)."""
    hf = modeling.load(folder, loops=options.loops, device=device)
    model = opened(hf)
    own = examples.mapped(ids)
    seen = lens.readings(model, own, options.batch_size)
    return seen, causal.strengths(model, own, batch_size=options.batch_size, targets=options.targets)


def _conclude(run: runkit.StageRun, seen: pl.DataFrame, caused: pl.DataFrame, course: Course) -> None:
    run.table("lens", seen, tables.Lens)
    run.table("effects", caused, tables.Effects)
    run.figure("circuit", circuit_figures.circuit(caused, course))
    run.figure("lens", circuit_figures.lens(seen, caused, course))
    start, end = course.start(caused), course.end(caused)
    before, after = (
        circuit_figures.peaks(seen.filter(step=step), caused.filter(step=step), course.home) for step in (start, end)
    )
    run.metrics({"facts": seen["n"][0], "checkpoints": caused["step"].n_unique(), "start_step": start})
    run.metrics({name.replace("/", " "): value for name, value in after.items()})
    run.summary(
        {"greatest over layers": f"step {start:,} -> step {end:,}"}
        | {name: f"{f'{before[name]:.3f}' if name in before else '–'} -> {value:.3f}" for name, value in after.items()}
    )
