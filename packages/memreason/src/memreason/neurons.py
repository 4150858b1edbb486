"""Stage `neurons`: which neurons fire in steps that recall, and which in steps that infer.

Works with any causal LM: the chains are teacher-forced, and what kind a step is the data say.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import runkit
from runkit.errors import DataError
from runkit.tables import NEURON_KEY
from scipy import stats

from memreason import neurons_figures as figures
from memreason import tables
from memreason.attending.drawn import Drawn, drawn, fitting
from memreason.data import Data
from memreason.firing.contrast import Steps, contrast
from memreason.firing.joined import said
from memreason.firing.means import averaged, chunks, dense_layers, step_means
from memreason.options import NeuronsOptions
from memreason.student import Student
from memreason.trace import KINDS, MEMORY, REASON


def neurons(options: NeuronsOptions) -> Path:
    """Run the stage: table `neurons`, figure `neurons`. Returns its folder.

    Raises:
        UsageError: neurons in experts; labels or descriptions of another model; see also `Student.load` and `drawn`.
        DataError: steps of one kind only; see also `drawn` and `fitting`.
    """
    with runkit.stage("memreason.neurons", options) as run:
        if run.finished:
            return run.folder
        student = Student.load(options)
        traces = drawn(Data.open(options.data), student, options)
        found = fitting(run, traces, student.model, options)
        words = said(options, student.model, student.name)
        plus = _measured(run, options, student, found)
        table = _with_selective(_both_polarities(plus), options.alpha).with_columns(model=pl.lit(student.name))
        table = table.join(words, on=NEURON_KEY, how="left").sort("layer", "neuron", "polarity")
        table = table.select(*tables.columns(tables.Neurons))
        run.table("neurons", table, tables.Neurons)
        run.figure("neurons", figures.neurons(table))
        numbers = _numbers(table, found)
        run.metrics(numbers)
        run.summary(_told(table, numbers))
        return run.folder


def _measured(run: runkit.StageRun, options: NeuronsOptions, student: Student, found: list[Drawn]) -> pl.DataFrame:
    """A row per neuron, polarity +; some layers at a time."""
    kinds = [_recalled(each) for each in found]
    if len(there := {kind for each in kinds for kind in each}) == 1:
        only = MEMORY if there == {True} else REASON
        raise DataError(f"{options.data}: all {sum(map(len, kinds))} steps are of kind {only}: both kinds are needed")
    apart = not _mixed(kinds)
    if apart:
        run.log(
            "no trace has steps of both kinds: each counts once, as a whole, and the null shuffles kinds among all of "
            "them, so that whatever else sets their questions apart counts, too"
        )
    steps = Steps.of([tuple(each[0] for each in kinds)] if apart else kinds, options.draws, options.seed)
    parts = run.parts("layers")
    groups = chunks(dense_layers(student.model), student.model, found)
    for key, layers in parts.missing(enumerate(groups)):
        means = step_means(student.model, found, layers, options.batch_size)
        units = {layer: averaged(each, list(map(len, kinds))) if apart else each for layer, each in means.items()}
        parts.write(key, pl.concat(_of_layer(layer, units[layer], steps) for layer in layers))
    return parts.collect()


def _of_layer(layer: int, means: np.ndarray, steps: Steps) -> pl.DataFrame:
    numbers = {"layer": np.full(means.shape[1], layer), "neuron": np.arange(means.shape[1])}
    return pl.DataFrame(numbers | contrast(means, steps)._asdict())


def _recalled(each: Drawn) -> tuple[bool, ...]:
    return tuple(kind == MEMORY for kind in each.item.trace.kinds())


def _mixed(kinds: Sequence[tuple[bool, ...]]) -> list[tuple[bool, ...]]:
    """Of those traces that have both kinds."""
    return [each for each in kinds if len(set(each)) == 2]


def _both_polarities(plus: pl.DataFrame) -> pl.DataFrame:
    """The rows of polarity -, of which everything is mirrored, beside those of +."""
    minus = plus.with_columns(
        -pl.col("memory", "reason", "z"),
        auroc=1 - pl.col("auroc"),
        null_low=1 - pl.col("null_high"),
        null_high=1 - pl.col("null_low"),
    )
    return pl.concat([plus.with_columns(polarity=pl.lit("+")), minus.with_columns(polarity=pl.lit("-"))])


def _with_selective(rows: pl.DataFrame, alpha: float) -> pl.DataFrame:
    """Each neuron is one test: its polarities are told by the same p."""
    plus = rows.filter(polarity="+")
    q = pl.Series("q", stats.false_discovery_control(plus["p"].to_numpy()))
    rows = rows.join(plus.select("layer", "neuron", q), on=["layer", "neuron"])
    higher = pl.when(pl.col("z") > 0).then(pl.lit(MEMORY)).otherwise(pl.lit(REASON))
    return rows.with_columns(selective=pl.when(pl.col("q") <= alpha).then(higher).otherwise(pl.lit("")))


def _numbers(table: pl.DataFrame, found: Sequence[Drawn]) -> dict[str, float]:
    """Shares of neurons that are higher (as they are: polarity +) in one kind of step, by layer and overall; traces
    with both kinds, and the share of these where all recall comes first, so that kind and place are one."""
    plus = table.filter(polarity="+")
    mixed = _mixed([_recalled(each) for each in found])
    numbers: dict[str, float] = {"traces": len(found), "mixed": len(mixed)}
    if mixed:
        numbers["memory_first"] = sum(list(each) == sorted(each, reverse=True) for each in mixed) / len(mixed)
    for kind in KINDS:
        numbers[f"selective/{kind}"] = plus.select((pl.col("selective") == kind).mean()).item()
        by_layer = plus.group_by("layer", maintain_order=True).agg((pl.col("selective") == kind).mean())
        numbers |= {f"selective/{kind}/layer_{layer:02d}": share for layer, share in by_layer.iter_rows()}
    return numbers


def _told(table: pl.DataFrame, numbers: dict[str, float]) -> dict[str, object]:
    plus = table.filter(polarity="+")
    counts = {f"higher in {kind} steps": int((plus["selective"] == kind).sum()) for kind in KINDS}
    told: dict[str, object] = {"traces": f"{numbers['traces']}, {numbers['mixed']} with steps of both kinds"}
    told |= {name: f"{count:,} of {len(plus):,} neurons" for name, count in counts.items()}
    if "memory_first" in numbers:
        told["all recall first in"] = f"{numbers['memory_first']:.0%} of those"
    return told
