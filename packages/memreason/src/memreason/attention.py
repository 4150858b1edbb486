"""Stage `attention`: where the attention of each kind of token goes, and what the type tokens cause.

Jin et al. (2025) show the maps of one head for two traces. Here every layer and head counts, over many traces, against
shuffled positions; and because where a model looks does not say what it uses, the type tokens are ablated and swapped.
"""

from collections.abc import Sequence
from pathlib import Path

import actkit
import numpy as np
import polars as pl
import runkit
from actkit import buckets
from runkit.errors import UsageError, nearest
from runkit.parts import Parts
from runkit.progress import track

from memreason import attention_figures as figures
from memreason import tables
from memreason.attending import causes, masses
from memreason.attending.causal import Edited, steps_of
from memreason.attending.classing import Classed, Evenly, classed, evenly
from memreason.attending.drawn import Drawn, drawn, fitting, names
from memreason.attending.reducing import Sums, joined, reduced
from memreason.data import Data
from memreason.options import AttentionOptions
from memreason.student import Student


def attention(options: AttentionOptions) -> Path:
    """Run the stage: tables `mass`, `entropies`, `steps` and `causes`; figures `attention`, `heads`, `steps`, `causes`.

    `causes` only where the scheme has tokens of kinds. Returns its folder.

    Raises:
        UsageError: a layer without attention maps; see also `Student.load` and `drawn`.
        DataError: see `drawn` and `fitting`.
    """
    with runkit.stage("memreason.attention", options) as run:
        if run.finished:
            return run.folder
        student, data = Student.load(options), Data.open(options.data)
        found = fitting(run, drawn(data, student, options), student.model, options)
        run.metrics({"traces": len(found)})
        _look(run, options, student, found)
        if options.causal:
            _cause(run, options, student, found, data)
        return run.folder


def _look(run: runkit.StageRun, options: AttentionOptions, student: Student, found: list[Drawn]) -> None:
    layers, classes = _layers(student, options.layers), names(found, student.codec)
    told = [classed(each, classes, options.draws, options.seed) for each in found]
    sizes = (len(classes), 2 + max(len(each.item.trace.steps) for each in found))
    groups = buckets([len(each.rendered.ids) for each in found], options.batch_size)
    parts, room = run.parts("attention"), actkit.Room(run.log)

    def look(some: Sequence[int]) -> Sums:
        ids = [found[number].rendered.ids for number in some]
        return reduced(student.model, ids, [told[number] for number in some], layers, sizes)

    for key, group in track(parts.missing(enumerate(groups)), "batches", len(groups)):
        parts.write(key, _piece(joined(room(group, look))))
    sums = _added(parts, groups, (len(layers), options.draws + 1, student.model.dims.heads, *sizes))
    even = _evenly(told, len(classes))
    mass = masses.mass_table(sums.mass, even, classes, layers)
    entropies = masses.entropy_table(sums.entropy, even, classes, layers)
    steps = masses.step_table(found, told, list(sums.steps))
    run.table("mass", mass, tables.Mass)
    run.table("entropies", entropies, tables.Entropies)
    run.table("steps", steps, tables.StepMass)
    kinds = [kind for kind in student.scheme.kinds if kind in classes]
    run.figure("attention", figures.by_class(mass))
    run.figure("steps", figures.by_step(steps))
    if kinds:
        run.figure("heads", figures.by_head(mass, kinds))
    run.metrics(_numbers(mass, kinds))


def _cause(run: runkit.StageRun, options: AttentionOptions, student: Student, found: list[Drawn], data: Data) -> None:
    if not any(each.block(0) for each in found):
        run.log(
            f"arm {student.scheme.arm} has no tokens of kinds, so there is nothing to ablate or swap (no table causes)"
        )
        return
    edited = Edited(student, data.world, found)
    work = steps_of(found, student.codec)
    groups = buckets([len(each.ids) for each in work], options.batch_size)
    parts, room = run.parts("causes"), actkit.Room(run.log)
    for key, group in track(parts.missing(enumerate(groups)), "edits", len(groups)):
        parts.write(key, pl.concat(room([work[number] for number in group], edited)))
    table = causes.table(parts.collect(), options.seed)
    run.table("causes", table, tables.Causes)
    run.figure("causes", figures.causes(table))
    run.metrics(causes.numbers(table))


def _layers(student: Student, asked: tuple[int, ...]) -> list[int]:
    there = [site.layer for site in student.model.find("attn_pattern.*") if site.layer is not None]
    for layer in asked:
        if layer not in there:
            raise UsageError(
                f"--layers {layer}: {student.name} has no attention map there; {nearest(str(layer), map(str, there))}"
            )
    return sorted(set(asked)) or there


def _piece(sums: Sums) -> pl.DataFrame:
    """One row, with each field as one list."""
    return pl.DataFrame({name: [values.ravel()] for name, values in sums._asdict().items()})


def _added(parts: Parts, groups: Sequence[Sequence[int]], sizes: tuple[int, int, int, int, int]) -> Sums:
    """All pieces together; `steps` in the order of the items."""
    layers, draws, heads, classes, segments = sizes
    mass = np.zeros((layers, draws, heads, classes, classes))
    entropy = np.zeros((layers, heads, classes))
    steps = np.zeros((sum(map(len, groups)), segments, segments))
    for group, piece in zip(groups, parts.pieces(), strict=True):
        mass += piece["mass"][0].to_numpy().reshape(mass.shape)
        entropy += piece["entropy"][0].to_numpy().reshape(entropy.shape)
        steps[list(group)] = piece["steps"][0].to_numpy().reshape(len(group), segments, segments)
    return Sums(mass, entropy, steps)


def _evenly(told: Sequence[Classed], classes: int) -> Evenly:
    each = [evenly(one, classes) for one in told]
    return Evenly(*(np.sum(values, axis=0) for values in zip(*each, strict=True)))


def _numbers(mass: pl.DataFrame, kinds: Sequence[str]) -> dict[str, float]:
    """Over all heads: the share of the attention of each kind's text that goes to tokens of a kind, and how many times
    what even attention would give that is."""
    found: dict[str, float] = {}
    texts = mass.filter(pl.col("query").is_in(["memory text", "reason text"]), pl.col("key").is_in(kinds))
    means = texts.group_by("query", "key", maintain_order=True).agg(pl.col("mass", "uniform").mean())
    for query, key, share, uniform in means.iter_rows():
        pair = f"{query.removesuffix(' text')}_to_{key}_tokens"
        found[f"mass/{pair}"] = share
        if uniform:
            found[f"ratio/{pair}"] = share / uniform
    return found
