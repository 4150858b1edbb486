"""What a step of `train` costs, against simpletransformers' loop and the original's set-up.

    uv run python benchmarks/train_speed.py [--width 128] [--threads 1]

Four loops take turns in one process, some steps each, and the figure is process time per step:

- ours: the train stage's loop, compact vocabulary, supervised positions alone through the head;
- simpletransformers' loop (`--trainer simpletransformers`, without its bars) on the same model, rows and batch;
- the same with rows padded to 10 positions, as the original pads them (`--max_length 10`);
- the original's set-up (`benchmarks/original_training.py`): GPT-2's whole vocabulary, rows of 10 positions, its bars.
  Most of what is gained over it is the vocabulary, which is a choice of modelling.

Sizes, data, dropout and batch are the same; that ours and simpletransformers' compute the same loss is a test. Then, at
another width, the share of our step's time that is spent in matrix products, by PyTorch's profiler: all of a step's
time counts, that of Python too.
"""

import argparse
import contextlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import original_training
import torch
from grokked_reasoning import modeling
from grokked_reasoning.dataset import Data, Rows
from grokked_reasoning.options import TrainOptions
from grokked_reasoning.training.saving import Learner
from grokked_reasoning.training.simple import train_simple
from grokked_reasoning.training.team import Team
from grokked_reasoning.training.trainer import Trainer
from grokked_worlds import SMALL, composition, cpu
from torch.profiler import ProfilerActivity, profile, record_function

RESULTS = Path(__file__).parent / "results" / "train_speed.json"
TARGETS = {"simpletransformers / ours": 4.0, "original / ours": 40.0, "matrix products": 0.6}
_PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "mkl::_mkl_linear", "mkldnn::_linear_pointwise")


def main() -> None:
    """Measure, print, and write results/train_speed.json."""
    asked = _arguments()
    torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory() as name, Path(os.devnull).open("w") as nowhere:
        data = composition(Path(name) / "data", **SMALL)
        with contextlib.redirect_stderr(nowhere):  # bars; what it costs to write them is the original's own
            taken = raced(data, asked, Path(name) / "simple")
        share = products(data, asked)
    report = _circumstances(asked, data) | {
        "milliseconds": {name: _told([each * 1e3 for each in taken[name]]) for name in taken},
        "ratios": {f"{name} / ours": _ratio(taken[name], taken["ours"]) for name in taken if name != "ours"},
        "matrix products": share,
        "targets": TARGETS,
    }
    print(json.dumps(report, indent=2))
    if asked.write:
        RESULTS.write_text(json.dumps(report, indent=2) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="steps of a turn; the original makes 1 for 20")
    parser.add_argument("--compile", action="store_true", help="ours with --compile")
    parser.add_argument("--profiled-width", type=int, default=256)
    parser.add_argument("--no-write", dest="write", action="store_false", help="print only")
    return parser.parse_args()


def _options(asked: argparse.Namespace, **more: Any) -> TrainOptions:
    """The train stage's options; nothing is evaluated or saved but where simpletransformers' loop is to pause."""
    sizes = {"layers": asked.layers, "width": asked.width, "heads": asked.heads, "batch_size": asked.batch_size}
    return TrainOptions(
        **{
            **sizes, "threads": asked.threads, "device": "cpu", "evaluate_every": asked.steps, "save_every": 10**9,
            "dense_until": 0, "max_steps": 10**9, **more,
        }
    )  # fmt: skip


def raced(data: Data, asked: argparse.Namespace, folder: Path) -> dict[str, list[float]]:
    """Process seconds per step and round of each loop; a first round is not counted."""
    options = _options(asked)
    ours, original = _ours(data, _options(asked, compile=asked.compile)), _original(data, options)
    wide = replace(data, train=_padded(data.train, original_training.POSITIONS))
    turns: dict[str, Callable[[], float]] = {
        "ours": lambda: _seconds(ours, asked.steps),
        "simpletransformers": lambda: _simple(data, options, folder),
        "simpletransformers, 10 positions": lambda: _simple(wide, options, folder),
        "original": lambda: _seconds(original, max(1, asked.steps // 20)),
    }
    taken: dict[str, list[float]] = {name: [] for name in turns}
    for number in range(asked.rounds + 1):
        for name in list(turns) if number % 2 else reversed(turns):
            taken[name].append(turns[name]())
    return {name: each[1:] for name, each in taken.items()}


def _padded(rows: Rows, positions: int) -> Rows:
    return replace(rows, ids=np.pad(rows.ids, ((0, 0), (0, positions - rows.ids.shape[1]))))


def _simple(data: Data, options: TrainOptions, folder: Path) -> float:
    """A turn of simpletransformers' loop, made anew: as many steps to warm up, then those that count."""
    looks: list[float] = []
    steps = options.recipe().evaluate_every

    def look(learner: Learner) -> bool:
        looks.append(time.process_time())
        return learner.step == 2 * steps

    train_simple(data, options, _model(data, options), folder, look)
    return (looks[2] - looks[1]) / steps


def _original(data: Data, options: TrainOptions) -> Iterator[float]:
    recipe = options.recipe()
    theirs = original_training.model(
        len(data.vocabulary), layers=recipe.layers, width=recipe.width, heads=recipe.heads, dropout=options.dropout
    )
    return original_training.steps(
        theirs, data.train, batch_size=recipe.batch_size, rate=recipe.learning_rate, decay=options.weight_decay,
        warmup=recipe.warmup,
    )  # fmt: skip


def _model(data: Data, options: TrainOptions) -> Any:
    torch.manual_seed(options.seed)
    sizes = {name: getattr(options.recipe(), name) for name in ("layers", "width", "heads")}
    positions = data.train.ids.shape[1]
    return modeling.build(len(data.vocabulary), positions=positions, dropout=options.dropout, **sizes)


def _ours(data: Data, options: TrainOptions) -> Iterator[None]:
    trainer = Trainer(_model(data, options), data.train, options, Team("cpu"))
    trainer.settle()
    while True:
        trainer.advance()
        yield


def _seconds(loop: Iterator[Any], steps: int) -> float:
    start = time.process_time()
    for _ in range(steps):
        next(loop)
    return (time.process_time() - start) / steps


def _ratio(theirs: list[float], ours: list[float]) -> dict[str, Any]:
    return _told([a / b for a, b in zip(theirs, ours, strict=True)])


def _told(rounds: list[float]) -> dict[str, Any]:
    """Median, least and largest of the rounds, and all of them."""
    middle, least, most = (round(each(rounds), 3) for each in (statistics.median, min, max))
    return {"median": middle, "min": least, "max": most, "rounds": [round(each, 3) for each in rounds]}


def products(data: Data, asked: argparse.Namespace) -> dict[str, Any]:
    """Share of our step's self time in matrix products and attention, and what takes the most."""
    loop = _ours(data, _options(asked, width=asked.profiled_width, compile=asked.compile))
    _seconds(loop, 5)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(asked.steps):
            with record_function("python"):
                next(loop)
    spent = {each.key: each.self_cpu_time_total for each in seen.key_averages()}
    total = sum(spent.values())
    inside = sum(time for name, time in spent.items() if name in _PRODUCTS or "scaled_dot_product" in name)
    most = sorted(spent.items(), key=lambda item: -item[1])[:12]
    return {
        "width": asked.profiled_width,
        "share": round(inside / total, 4),
        "milliseconds per step, profiled": round(total / asked.steps / 1e3, 3),
        "shares": {name: round(time / total, 4) for name, time in most},
    }


def _circumstances(asked: argparse.Namespace, data: Data) -> dict[str, Any]:
    sizes = ("layers", "width", "heads", "batch_size", "threads", "rounds", "steps", "compile")
    return {
        "cpu": cpu(),
        "versions": {name: version(name) for name in ("torch", "transformers", "simpletransformers")},
        "world": {**SMALL, "training rows": len(data.train), "vocabulary": len(data.vocabulary)},
        **{name: getattr(asked, name) for name in sizes},
    }


if __name__ == "__main__":
    main()
