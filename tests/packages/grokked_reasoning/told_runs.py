"""Finished runs of every stage, with tables written by hand, so that a page about them can be worked out by hand."""

import math
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl
import runkit
from grokked_reasoning import capacity_figures, circuit_figures, tables
from grokked_reasoning.circuit_figures import Course
from grokked_reasoning.data import made
from grokked_reasoning.options import (
    CapacityOptions,
    EvaluateOptions,
    LlmBaselineOptions,
    MakeOptions,
    TraceOptions,
    TrainOptions,
)
from grokked_reasoning.profiles import Task
from grokked_reasoning.worlds import files
from runkit.options import identity
from runkit.tables import Schema, columns

STEPS = [0, 100, 200, 400, 800, 1600, 3200, 6400]
TYPES = {"id_atomic": 50, "train_inferred": 200, "test_inferred_iid": 100, "test_inferred_ood": 40}
SIZES = {
    "composition": {"entities": 48, "relations": 16, "degree": 16, "phi": 9},
    "comparison": {"entities": 100, "relations": 4, "values": 10, "phi": 12.6},
}
MODEL = {"layers": 4, "width": 64}
HOME = {"bridge": 1, "second_relation": 2, "answer": 2}
TOKENS = ("h", "r1", "r2")


def frame(rows: Iterable[dict[str, Any]], schema: Schema) -> pl.DataFrame:
    return pl.DataFrame(list(rows), columns(schema))


def data(folder: Path, task: Task = "composition", seed: int = 0) -> Path:
    """A small world of its own."""
    if not folder.exists():
        asked = MakeOptions(task=task, seed=seed, **SIZES[task])
        told = {"task": task, "options": identity(asked), "sizes": asdict(asked.world())}
        files.write(folder, made(asked), told)
    return folder


def trained(
    folder: Path,
    world: Path,
    *,
    fitted: int | None = 400,
    grokked: int | None = 1600,
    ood: float = 0.05,
    **options: Any,
) -> Path:
    """A run of `train`: training facts fitted and ID facts grokked at these steps, OOD ones ending where it says."""
    asked = TrainOptions(data=str(world), out=folder, **(MODEL | options))
    with runkit.stage("grokked-reasoning.train", asked) as run:
        rise = {"id_atomic": fitted, "train_inferred": fitted, "test_inferred_iid": grokked}
        rows = [
            {"step": step, "epoch": step / 100, "type": kind, "n": n, "nll": 1.0,
             "accuracy": ood * step / STEPS[-1] if kind == "test_inferred_ood" else _rise(step, rise[kind])}
            for step in STEPS for kind, n in TYPES.items()
        ]  # fmt: skip
        run.table("curves", frame(rows, tables.Curves), tables.Curves)
        losses = [
            {"step": s, "loss": 1.0, "learning_rate": 1e-3, "gradient_norm": 1.0, "weight_norm": 1.0} for s in STEPS
        ]
        run.table("losses", frame(losses, tables.Losses), tables.Losses)
        events = [("fitted", 0.99, fitted), ("grokked_id", 0.9, grokked), ("grokked_ood", 0.9, None)]
        told = [
            {"event": name, "threshold": at, "step": step, "ood_accuracy": None if step is None else 0.0,
             "id_accuracy": None if step is None else _rise(step, grokked)}
            for name, at, step in events
        ]  # fmt: skip
        run.table("events", frame(told, tables.Events), tables.Events)
        if (world / "world.json").is_file():
            (run.folder / "world.json").write_bytes((world / "world.json").read_bytes())
            run.artifact("world.json")
    return folder


def _rise(step: int, when: int | None) -> float:
    """0.95 at `when`; near 1 soon after, near 0 long before."""
    if not step or when is None:
        return 0.0 if not step else 0.2
    return round(1 / (1 + math.exp(-math.log(19) - 3 * math.log(step / when))), 4)


def evaluated(folder: Path, training: Path, world: Path) -> Path:
    options = EvaluateOptions(checkpoints=str(training), data=str(world), out=folder)
    with runkit.stage("grokked-reasoning.evaluate", options) as run:
        rows = [
            {"step": step, "type": kind, "n": n, "accuracy": step / 6400, "exact": None, "nll": 0.25}
            for step in (1600, 6400) for kind, n in TYPES.items()
        ]  # fmt: skip
        run.table("accuracy", frame(rows, tables.Accuracy), tables.Accuracy)
    return folder


def traced(folder: Path, training: Path, world: Path) -> Path:
    """MRR of the bridge at r1 and strength of the state at r1 rise with the step, most at layer 2."""
    options = TraceOptions(checkpoints=str(training), data=str(world), out=folder)
    steps = [200, 400, 1600, 6400]
    lens = [
        {"step": step, "layer": layer, "position": place, "token": token, "target": target, "n": 300, "top3": 0.5,
         "mrr": 0.1 + 0.2 * i * (layer == 2) * (place == HOME[target]) * (target != "answer")}
        for i, step in enumerate(steps) for layer in range(4) for place, token in enumerate(TOKENS) for target in HOME
    ]  # fmt: skip
    effects = [
        {"step": step, "site": site, "layer": layer, "target": "answer", "target_layer": 3, "n": 290, "left_out": 10,
         "strength": 0.05 + 0.25 * i * (layer == 2) * (site == "r1"), "n_right": 290, "strength_right": 0.1}
        for i, step in enumerate(steps) for layer in (1, 2, 3) for site in TOKENS
    ]  # fmt: skip
    course = Course({"fitted": 400}, HOME, TOKENS)
    with runkit.stage("grokked-reasoning.trace", options) as run:
        seen, caused = frame(lens, tables.Lens), frame(effects, tables.Effects)
        run.table("lens", seen, tables.Lens)
        run.table("effects", caused, tables.Effects)
        run.figure("circuit", circuit_figures.circuit(caused, course))
        run.figure("lens", circuit_figures.lens(seen, caused, course))
    return folder


def weighed(folder: Path) -> Path:
    rows = [
        {"people": 500, "layers": 2, "width": width, "parameters": 100 * width, "body_parameters": 50 * width,
         "questions": "one-hop", "scheme": "average", "attribute": "all", "n": 1000, "loss": 0.5, "entropy": 9000.0,
         "capacity": 150.0 * width, "low": 140.0 * width, "high": 160.0 * width, "bits_per_parameter": 1.5,
         "converged": width < 40}
        for width in (16, 32, 64)
    ]  # fmt: skip
    with runkit.stage("grokked-reasoning.capacity", CapacityOptions(out=folder)) as run:
        found = frame(rows, tables.Capacity)
        run.table("capacity", found, tables.Capacity)
        run.figure("capacity", capacity_figures.capacity(found))
    return folder


def asked(folder: Path, world: Path, model: str = "parrot <b>", right: float = 0.4) -> Path:
    """A run of `llm-baseline`, as far as the page reads it."""
    empty = dict.fromkeys(columns(tables.Comparison))
    rows = [
        {**empty, "kind": "this run", "system": model, "context": "retrieval", "answer": "cot", "n": 150,
         "correct": right, "correct_low": right - 0.08, "correct_high": right + 0.08,
         "wrong": 0.3, "cannot_decide": 0.2, "invalid": 0.1},
        {**empty, "kind": "chance", "system": "at random", "answer": "direct", "correct": 1 / 3},
        {**empty, "kind": "published", "system": "GPT-4-Turbo", "context": "retrieval", "answer": "cot", "n": 150,
         "correct": 47 / 150, "source": "paper"},
    ]  # fmt: skip
    with runkit.stage(
        "grokked-reasoning.llm-baseline", LlmBaselineOptions(model=model, data=str(world), out=folder)
    ) as run:
        run.table("comparison", frame(rows, tables.Comparison), tables.Comparison)
    return folder


def story(place: Path) -> dict[str, str]:
    """Three seeds of a plain model, one looped, one of comparison, and a run of every other stage; report's options."""
    worlds = {seed: data(place / f"world{seed}", seed=seed) for seed in (0, 1)}
    values = data(place / "values", "comparison")
    runs = [
        trained(place / "plain0", worlds[0], fitted=400, grokked=1600, seed=0),
        trained(place / "plain1", worlds[1], fitted=200, grokked=1600, seed=1, ood=0.15),
        trained(place / "plain2", worlds[0], fitted=400, grokked=None, seed=2, ood=0.0),
        trained(place / "looped", worlds[0], fitted=800, grokked=3200, ood=0.35, layers=2, loops=2),
        trained(place / "compared", values, fitted=200, grokked=400, ood=0.8, layers=3),
    ]
    return {
        "training": ",".join(map(str, runs)),
        "evaluation": str(evaluated(place / "evaluated", runs[0], worlds[0])),
        "tracing": f"{traced(place / 'traced', runs[0], worlds[0])},{traced(place / 'again', runs[1], worlds[1])}",
        "capacity": str(weighed(place / "weighed")),
        "baseline": str(asked(place / "asked", worlds[0])),
    }
