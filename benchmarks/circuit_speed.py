"""What causal tracing of facts costs, against one example, one site and one layer at a time.

    uv run python benchmarks/circuit_speed.py [--width 32 64]

300 facts of a composition world, 3 sites, 7 of 8 layers: every rank of the answer after a patch, by `trace`'s own
function and by the original's way (`benchmarks/original_tracing.py`, with its Python sort of all logits replaced by a
count). Both compute all of it, taking turns in one process; the ranks must be the same before anything is reported.
Process time. The weights are random, five times GPT-2's initial ones, so that patches have effects.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import actkit
import numpy as np
import original_tracing
import torch
from grokked_reasoning import modeling
from grokked_reasoning.dataset import Data
from grokked_reasoning.tracing import causal, draw
from grokked_reasoning.tracing.examples import Examples
from grokked_worlds import composition, cpu

RESULTS = Path(__file__).parent / "results" / "circuit_speed.json"
TARGET, LAYERS, SPREAD = 50.0, 8, 5.0


def main() -> None:
    """Measure, check, print, and write results/circuit_speed.json."""
    asked = _arguments()
    torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory() as name:
        data = composition(Path(name) / "data")
        examples = draw.examples(data, "train_inferred", asked.examples, seed=0)
    report = _circumstances(asked)
    for width in asked.width:
        report[f"width {width}"] = compared(_model(data, width), examples, asked.rounds)
    print(json.dumps(report, indent=2))
    if asked.write:
        RESULTS.write_text(json.dumps(report, indent=2) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=300)
    parser.add_argument("--width", type=int, nargs="+", default=[32, 64], help="multiples of 16, a head's width")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-write", dest="write", action="store_false", help="print only")
    return parser.parse_args()


def _model(data: Data, width: int) -> Any:
    torch.manual_seed(0)
    made = modeling.build(len(data.vocabulary), layers=LAYERS, width=width, heads=width // 16, positions=data.positions)
    with torch.no_grad():
        for each in made.parameters():
            each.mul_(SPREAD if each.ndim == 2 else 1)
    return made.eval()


def compared(hf: Any, examples: Examples, rounds: int) -> dict[str, Any]:
    """Both ways in turn, in the other order every other round; a first round is not counted."""
    model = actkit.load(hf)
    works: list[Callable[[], Any]] = [
        lambda: original_tracing.ranks(hf, examples),
        lambda: causal.traced(model, examples),
    ]
    agreed = _agreed(works[0](), works[1]())
    taken: list[list[float]] = [[], []]
    for number in range(rounds):
        for i in (0, 1) if number % 2 else (1, 0):
            taken[i].append(_seconds(works[i]))
    ratios = [theirs / ours for theirs, ours in zip(*taken, strict=True)]
    return agreed | {
        "ratio": {"median": round(statistics.median(ratios), 2), "min": round(min(ratios), 2),
                  "max": round(max(ratios), 2), "rounds": [round(each, 2) for each in ratios]},
        "target": TARGET,
        "process seconds": {
            "one at a time": [round(each, 3) for each in taken[0]], "ours": [round(each, 4) for each in taken[1]],
        },
    }  # fmt: skip


def _agreed(theirs: dict[str, torch.Tensor], ours: list[causal.Traced]) -> dict[str, Any]:
    """That the ranks are the same, and how strong the patches are.

    The two ways add up in another order, so two tokens of nearly the same logit may change places: at most one rank in
    a thousand may differ, by one.
    """
    cells = near = 0
    for found in ours:
        expected = theirs[found.site].numpy()
        expected = expected[(expected >= 0).all(axis=1)]
        apart = np.abs(found.after[:, : LAYERS - 1, 0] - expected)
        assert apart.max() <= 1, f"{found.site}: ranks differ by {apart.max()}"
        cells, near = cells + expected.size, near + int(apart.sum())
    assert near <= cells / 1000, f"{near} of {cells} ranks differ"
    changed = {
        each.site: round(float((each.after[:, : LAYERS - 1] != each.before[:, None]).mean()), 3) for each in ours
    }
    return {"ranks": cells, "of them one apart": near, "share of ranks that a patch changes": changed}


def _seconds(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _circumstances(asked: argparse.Namespace) -> dict[str, Any]:
    sizes = ("examples", "threads")
    return {
        "cpu": cpu(),
        "versions": {name: version(name) for name in ("torch", "transformers")},
        "layers": LAYERS,
        **{name: getattr(asked, name) for name in sizes},
        "one at a time": "all of it, nothing scaled; ranks are counted, not sorted as the original does",
    }


if __name__ == "__main__":
    main()
