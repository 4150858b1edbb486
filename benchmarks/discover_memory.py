"""Peak memory of `infer` and `discover` at 100, 1,000 and 3,000 items: it does not grow with their number.

    uv run python benchmarks/discover_memory.py

Each stage runs in a process of its own, whose peak resident memory the operating system reports when it ends.
"""

import json
import multiprocessing
import os
import resource
import tempfile
from collections.abc import Callable
from pathlib import Path

import specimens
from cot_neurons.options import DiscoverOptions, InferOptions
from specimens.arithmetic import problems

RESULTS = Path(__file__).parent / "results" / "discover_memory.json"
COUNTS = (100, 1000, 3000)


def main() -> None:
    """Measure, print, and write results/discover_memory.json."""
    context = multiprocessing.get_context("spawn")
    report: dict[str, dict[int, float]] = {"infer": {}, "discover": {}}
    with tempfile.TemporaryDirectory() as name:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{name}/mlflow.db"
        data = _problems(Path(name))
        for count in COUNTS:
            for stage, make in (("infer", _infer), ("discover", _discover)):
                with context.Pool(1) as pool:
                    report[stage][count] = pool.apply(_peak, (make, Path(name), data, count))
    text = json.dumps({"peak_mib": report}, indent=2)
    RESULTS.write_text(text + "\n")
    print(text)


def _problems(folder: Path) -> Path:
    file = folder / "problems.jsonl"
    rows = [{"question": each.question, "answer": each.answer} for each in problems("in-distribution", COUNTS[-1])]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def _infer(folder: Path, data: Path, count: int) -> None:
    from cot_neurons.infer import infer

    model = str(specimens.tiny_reasoner())
    infer(InferOptions(model=model, data=str(data), limit=count, out=folder / f"infer{count}"))


def _discover(folder: Path, _: Path, count: int) -> None:
    from cot_neurons.discover import discover

    items, model = str(folder / f"infer{count}"), str(specimens.tiny_reasoner())
    discover(DiscoverOptions(model=model, items=items, limit=count, out=folder / f"discover{count}"))


def _peak(work: Callable[[Path, Path, int], None], folder: Path, data: Path, count: int) -> float:
    """Peak resident memory of this process in MiB, after the work."""
    work(folder, data, count)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
