"""The paper's model on a GPU: how long a step takes, what share of the GPU's peak that is, and how far it learns.

    uv run python benchmarks/grokking_gpu.py [--seconds 300] [--phi 18]

Composition as in Wang et al. (2024): 2,000 entities, 200 relations, 724,000 training rows at φ 18; 8 layers of 768, 12
heads, batch of 512; bf16 with `--compile`, which on CUDA means CUDA graphs. It is the train stage's own loop and
scoring, without checkpoints. Steps are timed in stretches between evaluations, until the GPU has finished; evaluations
and the first stretch, which compiles, do not count. Training ends after --seconds of steps.

The file is written anew after every evaluation, so that a run that is cut off leaves what it has. Work per step is
arithmetic: 6 operations per weight of the blocks and position, and per weight of the head and supervised position.
"""

import argparse
import json
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from grokked_reasoning import scoring
from grokked_reasoning.dataset import Data
from grokked_reasoning.options import TrainOptions
from grokked_reasoning.scoring import Questions
from grokked_reasoning.train import untrained
from grokked_reasoning.training.trainer import Trainer
from grokked_worlds import composition
from runkit import files
from runkit.team import Team

RESULTS = Path(__file__).parent / "results" / "grokking_gpu.json"
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
"""Dense bf16 operations per second by part of the device's name (vendor's figures)."""
GOAL = 2.5
"""Milliseconds per step of the paper's model on an H100."""


def main() -> None:
    """Make the world, train, and write the file; refuse where there is no GPU and none was declined."""
    asked = _arguments()
    if asked.device != "cpu" and not torch.cuda.is_available():
        raise SystemExit("no CUDA GPU is to be seen here; --device cpu with small sizes tries the script out")
    with tempfile.TemporaryDirectory() as name:
        data = composition(
            Path(name) / "data", profile="paper", **_given(asked, "entities", "relations", "degree", "phi")
        )
    options = TrainOptions(
        profile="paper", precision="bf16", compile=asked.compile, device=asked.device, seed=asked.seed,
        **_given(asked, "layers", "width", "heads", "batch_size", "max_steps", "warmup"),
    )  # fmt: skip
    Session(data, options, asked.out).train(asked.seconds, asked.stretch)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300, help="of training steps, evaluations apart")
    parser.add_argument("--stretch", type=int, default=500, help="steps between two evaluations")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    parser.add_argument("--out", type=Path, default=RESULTS)
    for name in ("entities", "relations", "degree", "layers", "width", "heads", "batch-size", "max-steps", "warmup"):
        parser.add_argument(f"--{name}", type=int, help="other than the paper's")
    parser.add_argument("--phi", type=float, help="other than 18")
    return parser.parse_args()


def _given(asked: argparse.Namespace, *names: str) -> dict[str, Any]:
    return {name: getattr(asked, name) for name in names if getattr(asked, name) is not None}


class Session:
    """One model in training, timed and tested."""

    def __init__(self, data: Data, options: TrainOptions, out: Path) -> None:
        self._team, self._options, self._out = Team(options.device), options, out
        self._trainer = Trainer(untrained(data, options, self._team), data.train, options, self._team)
        self._questions = Questions.of(data.test, self._team.device, scoring.markers(data.vocabulary))
        self._rows, self._vocabulary = len(data.train), len(data.vocabulary)
        self._stretches: list[tuple[int, float]] = []
        self._curve: list[dict[str, Any]] = []

    def train(self, seconds: float, stretch: int) -> None:
        """Steps until the time or the steps are up; the first stretch is a tenth as long and compiles."""
        last, steps = self._options.recipe().max_steps, max(1, stretch // 10)
        self._evaluate()
        while self._trainer.step < last and self._spent() < seconds:
            self._advance(min(steps, last - self._trainer.step))
            self._evaluate()
            steps = stretch

    def _advance(self, steps: int) -> None:
        self._trainer.settle()
        self._finish()
        start = time.perf_counter()
        for _ in range(steps):
            self._trainer.advance()
        self._finish()
        self._stretches.append((steps, time.perf_counter() - start))

    def _finish(self) -> None:
        if self._team.device.type == "cuda":
            torch.cuda.synchronize()

    def _spent(self) -> float:
        return sum(seconds for _, seconds in self._stretches)

    def _evaluate(self) -> None:
        scores = scoring.measure(self._trainer.model, self._questions, 4096)
        totals = scoring.by_kind(scores, self._questions)
        self._curve.append(
            {"step": self._trainer.step, "seconds": round(self._spent(), 3), "loss": self._trainer.told()["loss"]}
            | {each.kind: round(each.accuracy, 4) for each in totals}
        )
        print(json.dumps(self._curve[-1]), flush=True)
        files.write_bytes(self._out, (json.dumps(self._report(), indent=2) + "\n").encode())

    def _report(self) -> dict[str, Any]:
        recipe = self._options.recipe()
        sizes = ("layers", "width", "heads", "batch_size", "learning_rate", "warmup")
        return {
            "device": _name(self._team.device),
            "versions": {name: version(name) for name in ("torch", "transformers")},
            "precision": self._options.precision,
            "compile": self._options.compile,
            **{name: getattr(recipe, name) for name in sizes},
            "training rows": self._rows,
            "vocabulary": self._vocabulary,
            "parameters": sum(each.numel() for each in self._trainer.model.parameters()),
            "speed": self._speed(),
            "curve": self._curve,
        }

    def _speed(self) -> dict[str, Any]:
        """Milliseconds per step over the stretches that count, and the share of the device's peak."""
        counted = [seconds / steps for steps, seconds in self._stretches[1:]]
        if not counted:
            return {}
        middle, work = statistics.median(counted), self._work()
        peak = next((peak for name, peak in PEAKS.items() if name in _name(self._team.device)), None)
        return {
            "milliseconds per step": round(middle * 1e3, 4),
            "fastest and slowest stretch": [round(each * 1e3, 4) for each in (min(counted), max(counted))],
            "goal on an H100": GOAL,
            "steps per second": round(1 / middle, 2),
            "operations per step": work,
            "share of peak": round(work / middle / peak, 4) if peak else None,
            "gigabytes at most": round(torch.cuda.max_memory_allocated() / 1e9, 2)
            if torch.cuda.is_available()
            else None,
        }

    def _work(self) -> int:
        recipe, batch = self._options.recipe(), self._trainer.feed.batch(0)
        blocks = 12 * recipe.layers * recipe.width**2 * batch[0].numel()
        return 6 * (blocks + self._vocabulary * recipe.width * batch[1].numel())


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


if __name__ == "__main__":
    main()
