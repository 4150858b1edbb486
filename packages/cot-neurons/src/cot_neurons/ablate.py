"""Stage `ablate`: what a model loses when a concept's neurons are intervened on, against control draws of others.

The causal test of Rai & Yao (2024), section 5, with every condition exact by (layer, neuron), undone when its batch is
done, and run on the same cases as the whole model. Conditions share batches.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path

import actkit
import polars as pl
import runkit
from runkit import refs
from runkit.errors import DataError, UsageError
from runkit.progress import track

from cot_neurons import answers, chains, dense, sources
from cot_neurons.ablation import cases, controls, effects, figures, reference, tables
from cot_neurons.ablation.cases import Case, Trial
from cot_neurons.ablation.interventions import AMOUNTS, Condition, Interventions, units
from cot_neurons.finished import finished
from cot_neurons.options import AblateOptions
from cot_neurons.subject import Subject

_WINDOW = 128  # tokens of each stretch of text
_SIGN = re.compile(r"[-+*/]")


def ablate(options: AblateOptions) -> Path:
    """Run the stage: tables `conditions`, `outcomes`, `effects`, `tests`; figure `ablation`. Returns its folder."""
    with runkit.stage("cot-neurons.ablate", options) as run:
        if run.finished:
            return run.folder
        amounts = _amounts(options)
        subject = Subject.load(options)
        layers = dense.layers(subject, "ablate")
        labels = _chosen_labels(options, subject)
        wanted = controls.targets(labels, options.concepts, options.top)
        items = chains.draw(sources.items(options.items, subject), options.limit, options.seed).sort("row")
        known, conditions = _conditions(options, subject, items, layers, wanted, amounts, actkit.Room(run.log))
        tried = _cases(options, subject, items)
        _say_what_is_missing(run, options, conditions, tried)
        outcomes = _tried(run, options, subject, known, conditions, tried)
        _conclude(run, options, conditions, outcomes)
        return run.folder


def _amounts(options: AblateOptions) -> tuple[float, ...]:
    if options.mode not in AMOUNTS:
        if options.amounts:
            raise UsageError(f"--amounts: mode {options.mode} has none; {', '.join(AMOUNTS)} have")
        return (1.0,)
    return tuple(dict.fromkeys(options.amounts)) or AMOUNTS[options.mode]


def _chosen_labels(options: AblateOptions, subject: Subject) -> pl.DataFrame:
    """The labels to go by: those of neurons that fire for their concept, and more than for any other."""
    labels = sources.labels(options.labels, subject)
    held = controls.held(labels, options.min_auroc)
    if held.is_empty():
        best = labels.select(controls.LEAST.max()).item()
        told = "none was tested on held-out chains" if best is None else f"the best comes to {best:.2f}"
        raise UsageError(
            f"--min-auroc {options.min_auroc:g}: none of the {len(labels)} labels in --labels {options.labels} holds "
            f"up so well; {told} (0 takes them all)"
        )
    return held


def _conditions(
    options: AblateOptions,
    subject: Subject,
    items: pl.DataFrame,
    layers: Sequence[int],
    wanted: dict[str, list[tuple[int, int]]],
    amounts: Sequence[float],
    room: actkit.Room,
) -> tuple[reference.Reference, list[Condition]]:
    """All conditions, and how neurons behave on the model's own chains over the items."""
    written = finished(items, subject, options.batch_size)
    known = reference.measured(subject, written, layers, options.where, room)
    conditions = controls.conditions(
        wanted, known.strength, amounts=amounts, controls=options.controls, draws=options.draws, seed=options.seed
    )
    if options.mode == "resample":
        bank = reference.bank(subject, written, units(conditions), options.where, options.seed, room)
        known = replace(known, bank=bank)
    return known, conditions


def _cases(options: AblateOptions, subject: Subject, items: pl.DataFrame) -> list[Case]:
    """What the conditions are tried on: the items, the other task, the other text."""
    found = cases.problems(items, "items", 0, subject)
    if options.task:
        task = chains.draw(sources.items(options.task, subject, "task"), options.limit, options.seed).sort("row")
        found += cases.problems(task, "task", len(found), subject)
    if options.text:
        place = refs.resolve(options.text)
        try:
            text = place.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"--text {place}: not a readable UTF-8 text file: {error}") from None
        size = min(_WINDOW, subject.model.context or _WINDOW)
        windows = cases.windows(text, len(found), subject, size, options.limit)
        if not windows:
            raise DataError(f"--text {place}: nothing to read: it has fewer than two tokens")
        found += windows
    return found


def _say_what_is_missing(
    run: runkit.StageRun, options: AblateOptions, conditions: Sequence[Condition], tried: Sequence[Case]
) -> None:
    """Reference solutions that cannot be read, and control draws that could not be made."""
    for source in ("items", "task"):
        unread = [case for case in tried if case.source == source and not case.forced]
        if unread:
            run.log(
                f"--{source}: {len(unread)} problems have no reference solution, or one that does not fit the model's "
                "context behind their prompt: what the model would make of it is not measured for these"
            )
    drawn = Counter((condition.concept, condition.kind) for condition in conditions)
    for concept in dict.fromkeys(condition.concept for condition in conditions if condition.concept):
        for kind in dict.fromkeys(options.controls):
            if (count := drawn[concept, kind] // drawn[concept, "target"]) < options.draws:
                run.log(f"{concept}: {count} of {options.draws} control draws of kind {kind}: there are no other sets")


def _tried(
    run: runkit.StageRun,
    options: AblateOptions,
    subject: Subject,
    known: reference.Reference,
    conditions: Sequence[Condition],
    tried: Sequence[Case],
) -> pl.DataFrame:
    """Table `outcomes`: every condition on every case, in batches of cases of like length."""
    interventions = Interventions(
        subject.model, conditions, known, mode=options.mode, where=options.where, seed=options.seed
    )
    # A model that was broken may never end; what is longer than any whole chain by far is no answer any more.
    tokens = options.max_new_tokens or ceil(1.25 * max(case.new_tokens for case in tried))
    trial = Trial(subject, interventions, stops=answers.STOPS, tokens=tokens)
    pairs = [(condition, case) for case in tried for condition in conditions]
    batches = actkit.buckets([len(case.prompt_ids) + len(case.forced) for _, case in pairs], options.batch_size)
    parts, room = run.parts("outcomes"), actkit.Room(run.log)
    for key, group in track(parts.missing(enumerate(batches)), "batches", len(batches)):
        found = room([pairs[i] for i in group], lambda some: pl.DataFrame(trial(some), schema=_SCHEMA))
        parts.write(key, pl.concat(found))
    outcomes = parts.collect().sort("condition", "source", "row")
    run.table("outcomes", outcomes, tables.Outcomes)
    return outcomes


_COUNTED = ("gold", "solved", "written", "true", "forced")
_SCHEMA = {
    "condition": pl.Int64, "source": pl.String, "row": pl.Int64, "text": pl.String,
    "correct_strict": pl.Boolean, "correct_flexible": pl.Boolean, "no_answer": pl.Boolean,
    "logp_gold": pl.Float64, "odds_gold": pl.Float64,
    "logp_rest": pl.Float64, "odds_rest": pl.Float64, "rest": pl.Int64,
    **{f"{name}_{sign}": pl.Int64 for name in _COUNTED for sign in cases.OPERATORS},
    **{f"{name}_{sign}": pl.Float64 for name in ("logp", "odds") for sign in cases.OPERATORS},
}  # fmt: skip


def _conclude(
    run: runkit.StageRun, options: AblateOptions, conditions: Sequence[Condition], outcomes: pl.DataFrame
) -> None:
    run.table("conditions", _told(conditions, options.mode), tables.Conditions)
    found = effects.effects(outcomes, conditions, options.mode, options.seed)
    run.table("effects", found, tables.Effects)
    tests = effects.tests(found)
    run.table("tests", tests, tables.Tests)
    run.figure("ablation", figures.ablation(found))
    baseline = found.filter(kind="baseline")
    run.metrics(
        {"conditions": len(conditions)}
        | {
            f"baseline_{_SIGN.sub(_spelled, metric)}".replace(" ", "_"): value
            for metric, value in baseline.select("metric", "value").drop_nulls().iter_rows()
        }
    )
    run.summary(effects.summary(found, tests))


def _spelled(sign: re.Match[str]) -> str:
    """An operator as MLflow's names allow it."""
    return {"+": "plus", "-": "minus", "*": "times", "/": "over"}[sign[0]]


def _told(conditions: Sequence[Condition], mode: str) -> pl.DataFrame:
    """Table `conditions`."""
    return pl.DataFrame(
        [
            {
                "condition": each.number, "concept": each.concept, "kind": each.kind, "draw": each.draw, "mode": mode,
                "amount": each.amount, "neurons": [f"L{layer}N{unit}" for layer, unit in each.neurons],
            }
            for each in conditions
        ],
        schema=tables.columns(tables.Conditions),
    )  # fmt: skip
