"""A whole experiment on a small world, by hand: arms and seeds with known mistakes, and looks into the typed one."""

import hashlib
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import runkit
from matplotlib.figure import Figure
from memreason import arms, measured, tables
from memreason.data import table
from memreason.grading import frame
from memreason.options import (
    AttentionOptions,
    EvaluateOptions,
    ImportOptions,
    NeuronsOptions,
    SteerOptions,
    TrainOptions,
)
from memreason.scheme import Arm
from memreason.trace import Item, Step, Trace
from memreason.world import World
from memreason.world.content import Content

HOSTILE = "</script><img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
NAMES = ("Ada", "Bo", "Cid", "Dot", "Eli", "Fay")
CONTENT = Content(
    people=NAMES, removed=(), years=tuple(str(1901 + i) for i in range(6)), cities=("Elm", "Fir", "Oak"),
    regions=("West", "East"), born={name: str(1901 + i) for i, name in enumerate(NAMES)},
    lives={name: ("Elm", "Fir", "Oak")[i % 3] for i, name in enumerate(NAMES)},
    lies={"Elm": "West", "Fir": "East", "Oak": "West"}, mentor={},
)  # fmt: skip
RIGHT = {("typed", 0): 0.8, ("typed", 1): 0.9, ("none", 0): 0.9, ("none", 1): 0.95, ("random", 0): 0.6}
"""The share of answers that are right, about, by arm and seed."""


def items(split: str) -> list[Item]:
    """Who is older? All ordered pairs; each split another half of them."""
    pairs = [
        (a, b) for i, a in enumerate(NAMES) for j, b in enumerate(NAMES) if a != b and (i < j) == (split == "test")
    ]
    return [Item(f"{split}-{a}-{b}", "toy", split, _trace(a, b), ("yes", "no")) for a, b in pairs]


def _trace(a: str, b: str) -> Trace:
    one, two = CONTENT.born[a], CONTENT.born[b]
    verdict = "earlier" if one < two else "later"
    steps = (
        Step("memory", f"{a} was born in {one}"),
        Step("memory", f"note that {b} was born in {two}"),
        Step("reason", f"so {one} compared to {two} is {verdict}"),
    )
    return Trace(f"was {a} born before {b} ?", steps, "yes" if one < two else "no")


def data(folder: Path) -> Path:
    """A finished run of import with world.json beside it, so that it counts as a toy world's."""
    with runkit.stage("memreason.import", ImportOptions(data=("made",), out=folder)) as run:
        run.table("traces", table([*items("test"), *items("removed")]), tables.Traces)
        CONTENT.save(run.folder / "world.json")
        run.artifact("world.json")
    return folder


def said(item: Item, arm: Arm, seed: int) -> Trace:
    """What a student of this arm and seed says: its mistakes are a function of arm, seed and question."""
    draw = Random(hashlib.sha256(f"{arm}/{seed}/{item.id}".encode()).digest())
    trace = arms.dressed(item.trace, arm, item.id, seed)
    if draw.random() < RIGHT[arm, seed]:
        return trace
    first, second, third = trace.steps
    other = "no" if trace.answer == "yes" else "yes"
    if draw.random() < 0.5:
        year = second.text[-4:]
        wrong = "1901" if year != "1901" else "1906"
        return trace._replace(
            steps=(first, second._replace(text=second.text.replace(year, wrong)), third), answer=other
        )
    if draw.random() < 0.5:
        return trace._replace(steps=(first, second, third._replace(text=HOSTILE)), answer=None)
    turned = third.text.replace("earlier", "L").replace("later", "earlier").replace("L", "later")
    return trace._replace(steps=(first, second, third._replace(text=turned)), answer=other)


def row(item: Item, trace: Trace, arm: str) -> dict[str, Any]:
    """A row of the table answers."""
    right = trace.answer == item.trace.answer
    return {
        "arm": arm, "dataset": item.dataset, "split": item.split, "id": item.id, "question": item.trace.question,
        "gold": item.trace.answer, "prompt_ids": [1], "new_ids": [2, 3], "text": "", "kinds": list(trace.kinds()),
        "texts": [step.text for step in trace.steps], "formed": [True] * len(trace.steps),
        "problems": [] if trace.answer else ["there is no answer"], "answer": trace.answer,
        "status": "ok" if trace.answer else "invalid", "correct": right, "finish": "eos",
        "block_tokens": 0 if arm == "none" else 12, "logprob": -0.1 if right else -0.4,
    }  # fmt: skip


def student(folder: Path, arm: Arm, seed: int, data: str | Path = "made", **other: Any) -> Path:
    """A finished run of train without a student."""
    options = TrainOptions(data=str(data), model="made", arm=arm, seed=seed, out=folder, **other)
    with runkit.stage("memreason.train", options):
        pass
    return folder


def evaluated(folder: Path, place: Path, taught: Path, arm: Arm, seed: int, splits: tuple[str, ...]) -> Path:
    """A finished run of evaluate of that student."""
    world = World(CONTENT)
    rows = [row(item, said(item, arm, seed), arm) for split in splits for item in items(split)]
    answers = frame(rows)
    with runkit.stage("memreason.evaluate", EvaluateOptions(data=str(place), model=str(taught), out=folder)) as run:
        run.table("answers", answers, tables.Answers)
        run.table("checked", measured.checked(answers, world), tables.Checked)
        groups = measured.groups(answers)
        for name, part in ({"": answers} | (groups if len(groups) > 1 else {})).items():
            rates = measured.world_rates(part, measured.checked(part, world), world, ())
            run.metrics({f"{name}/{key}" if name else key: value for key, value in rates.items()})
    return folder


def picture() -> Figure:
    figure = Figure(figsize=(4, 2))
    figure.subplots().plot([0, 1], [0, 1])
    return figure


def steered(folder: Path, place: Path, taught: Path) -> Path:
    rows = [
        ("none", 30, 0.8, 0.62, 0.9, 0.1, 0, 0, None, None),
        ("memory first", 30, 0.7, 0.52, 0.83, 0.1, 30, 29, 28, None),
        ("a false fact", 20, 0.2, 0.08, 0.42, 0.0, 0, 0, None, 16),
        (HOSTILE, 30, 0.5, 0.33, 0.67, 0.0, 30, 30, None, None),
    ]  # fmt: skip
    with runkit.stage("memreason.steer", SteerOptions(data=str(place), model=str(taught), out=folder)) as run:
        frame_ = pl.DataFrame(rows, tables.columns(tables.Interventions), orient="row")
        run.table("interventions", frame_, tables.Interventions)
        run.figure("steering", picture())
    return folder


def looked(folder: Path, place: Path, taught: Path) -> Path:
    rows = [
        ("none", "memory", 40, -0.21, 0.0, None, None, 0.05),
        ("swap", "memory", 40, -2.5, -2.29, -2.6, -2.0, 0.9),
    ]
    with runkit.stage("memreason.attention", AttentionOptions(data=str(place), model=str(taught), out=folder)) as run:
        run.table("causes", pl.DataFrame(rows, tables.columns(tables.Causes), orient="row"), tables.Causes)
        run.figure("attention", picture())
    return folder


def fired(folder: Path, place: Path, taught: Path) -> Path:
    """Neuron 0 is high in memory steps, 1 low in reasoning steps, 2 nothing."""
    chosen = [
        (0, "+", 0.9, 0.1, 0.95, "memory"), (0, "-", -0.9, -0.1, 0.05, "reason"),
        (1, "+", -0.1, -0.8, 0.9, "memory"), (1, "-", 0.1, 0.8, 0.1, "reason"),
        (2, "+", 0.2, 0.2, 0.5, ""), (2, "-", -0.2, -0.2, 0.5, ""),
    ]  # fmt: skip
    rows = [
        ("made", 3, neuron, sign, memory, reason, auroc, 0.4, 0.6, 0.0001 if kind else 0.7, kind, f"label {neuron}",
         HOSTILE)
        for neuron, sign, memory, reason, auroc, kind in chosen
    ]  # fmt: skip
    with runkit.stage("memreason.neurons", NeuronsOptions(data=str(place), model=str(taught), out=folder)) as run:
        run.table("neurons", pl.DataFrame(rows, tables.columns(tables.Neurons), orient="row"), tables.Neurons)
        run.figure("neurons", picture())
    return folder


def story(folder: Path) -> dict[str, Any]:
    """All runs; options of a report about them, but for errors."""
    place = data(folder / "data")
    students: dict[tuple[Arm, int], Path] = {}
    evaluations: list[str] = []
    for arm, seed in RIGHT:
        taught = students[arm, seed] = student(folder / f"{arm}{seed}", arm, seed)  # type: ignore[index,arg-type]
        splits = ("test", "removed") if arm != "random" else ("test",)
        evaluations.append(str(evaluated(folder / f"asked-{arm}{seed}", place, taught, arm, seed, splits)))  # type: ignore[arg-type]
    typed = students["typed", 0]
    return {
        "evaluations": tuple(evaluations),
        "steering": (str(steered(folder / "steered", place, typed)),),
        "attention": str(looked(folder / "looked", place, typed)),
        "neurons": str(fired(folder / "fired", place, typed)),
    }
