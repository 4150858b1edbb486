"""What exemplars of all layers cost: against the original's way, and against the plain forward passes.

    uv run python benchmarks/exemplars_speed.py original --rows 256 --k 32
    uv run python benchmarks/exemplars_speed.py original --layers 1 --rows 2048 --length 64 --batch 1024 --k 32
    uv run python benchmarks/exemplars_speed.py plain --rows 768 --batch 32 --k 20
    uv run python benchmarks/exemplars_speed.py plain --shape llama-3.1-8b --device cuda --dtype bfloat16 --batch 256

`original`: a Llama of 12 layers with random weights; `actkit.harvest` with what `expgen exemplars` asks of it
(strongest sequences of both polarities with all their activations, random ones, moments) against
`benchmarks/original_exemplars.py`. Each in a process of its own, in turn; process time and peak memory: the pass's own,
above what the process holds once libraries and model are loaded and have run one sequence, and the raw peak. The
strongest values must be the same, to rounding, before anything is reported. With `--layers` the original does only so
many layers, ours all: its peak memory is the same for each layer, so that alone is reported.

`plain`: the same harvest against Hugging Face's decoder without its head over the same batches, in one process, in
turn. With a GPU it also tells how long 1,000,000 sequences of 95 tokens would take.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import actkit
import numpy as np
import torch
from grokked_worlds import cpu
from original_exemplars import exemplars
from shapes import SHAPES, random_model
from timing import milliseconds, ratio, turns

RESULTS = Path(__file__).parent / "results"
GOAL = 1_000_000 * 95


def main() -> None:
    """Measure, check, print, and write results/exemplars_speed_*.json."""
    given = _arguments()
    if given.device == "cpu":
        torch.set_num_threads(1)
    if given.what == "one":
        _one(given)
        return
    report = _against_original(given) if given.what == "original" else _against_plain(given)
    report = {"cpu": cpu(), "torch": torch.__version__, **vars(given), **report}
    print(json.dumps(report, indent=2))
    if given.write:
        original = "original" if given.layers is None else "original_memory"
        name = original if given.what == "original" else f"{given.device}_{given.shape}_{given.rows}"
        (RESULTS / f"exemplars_speed_{name}.json").write_text(json.dumps(report, indent=2) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["original", "plain", "one"])
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--length", type=int, default=95)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--random", type=int, default=64, help="sequences kept whole beside the strongest")
    parser.add_argument("--layers", type=int, help="layers the original does [all]")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shape", choices=SHAPES, default="llama-12")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--side", default="ours", help="of `one`, which the other two start")
    parser.add_argument("--values", help="where `one` puts the strongest values")
    parser.add_argument("--no-write", dest="write", action="store_false", help="print only")
    return parser.parse_args()


def _ids(given: argparse.Namespace, vocabulary: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(3, vocabulary, (given.rows, given.length), generator=generator)


def _harvest(model: actkit.Model, ids: torch.Tensor, given: argparse.Namespace, folder: str) -> actkit.Store:
    dtype = model.hf.dtype
    top, kept = actkit.TopRows(given.k, "both", given.length, dtype=dtype), actkit.Keep(rows=range(given.random))
    reduce = [top, kept, actkit.Moments()]
    return actkit.harvest(
        model, ids, "mlp_post.*", reduce=reduce, store=folder, batch_size=given.batch, resume=False, quiet=True
    )


def _one(given: argparse.Namespace) -> None:
    """One side in this process: seconds, bytes, and the strongest values into a file beside."""
    hf = random_model(given.shape)
    ids = _ids(given, hf.config.vocab_size)
    hf(ids[:1])
    before, start = _memory("VmRSS"), time.process_time()
    if given.side == "ours":
        with tempfile.TemporaryDirectory() as folder:
            store = _harvest(actkit.load(hf), ids, given, folder)
            taken = time.process_time() - start
            values = np.stack([store[site, "toprows"]["values"].numpy() for site in store.sites])
    else:
        layers = [layer.mlp.down_proj for layer in hf.model.layers][: given.layers]
        states = exemplars(hf, layers, ids, given.k, given.batch)
        values = np.stack([np.stack([pole["extrema"][: given.k].T.numpy() for pole in layer]) for layer in states])
        taken = time.process_time() - start
    np.save(given.values, values)
    print(json.dumps({"seconds": taken, "floor": before, "peak": _memory("VmHWM")}))


def _memory(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(name)))


def _against_original(given: argparse.Namespace) -> dict[str, Any]:
    taken: dict[str, list[dict[str, float]]] = {"ours": [], "original": []}
    sizes = [f"--{name}={getattr(given, name)}" for name in ("rows", "length", "batch", "k", "shape", "random")]
    sizes += [] if given.layers is None else [f"--layers={given.layers}"]
    with tempfile.TemporaryDirectory() as folder:
        for number in range(given.rounds):
            for side in list(taken) if number % 2 == 0 else list(taken)[::-1]:
                values = ["--values", f"{folder}/{side}.npy"]
                command = [sys.executable, __file__, "one", "--side", side, *values, *sizes]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                taken[side].append(json.loads(done.stdout.splitlines()[-1]))
        ours, theirs = (np.load(f"{folder}/{side}.npy") for side in ("ours", "original"))
    np.testing.assert_allclose(ours[: given.layers], theirs, atol=1e-5)
    seconds = {side: [run["seconds"] for run in runs] for side, runs in taken.items()}
    above = {side: [run["peak"] - run["floor"] for run in runs] for side, runs in taken.items()}
    raw = {side: [run["peak"] for run in runs] for side, runs in taken.items()}
    told = {} if given.layers else {"original's seconds to ours": ratio(seconds, "original", "ours")}
    return {
        **told,
        "our peak memory above the floor to the original's": ratio(above, "ours", "original"),
        "our raw peak memory to the original's": ratio(raw, "ours", "original"),
        "runs": taken,
    }


def _against_plain(given: argparse.Namespace) -> dict[str, Any]:
    hf = random_model(given.shape, device=given.device, dtype=getattr(torch, given.dtype))
    model = actkit.load(hf)
    ids = _ids(given, model.dims.vocab)
    batches = [part.to(hf.device) for part in ids.split(given.batch)]
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        works = {
            "exemplars": lambda: _harvest(model, ids, given, folder),
            "plain": lambda: [hf.base_model(batch, use_cache=False) for batch in batches],
        }
        taken = turns(works, rounds=given.rounds, device=given.device)
    speed = ids.numel() / (milliseconds(taken)["exemplars"] / 1e3)
    told: dict[str, Any] = {
        "milliseconds": milliseconds(taken),
        "exemplars to plain": ratio(taken, "exemplars", "plain"),
        "tokens per second": round(speed),
    }
    if given.device == "cuda":
        told |= {"device_name": torch.cuda.get_device_name(), "peak_bytes": torch.cuda.max_memory_allocated(),
                 "minutes for 1M x 95 tokens": round(GOAL / speed / 60, 1)}  # fmt: skip
    return told


if __name__ == "__main__":
    main()
