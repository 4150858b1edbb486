"""What looking inside needs of memory: loading, captures in a loop, and the peak of one capture.

    uv run python benchmarks/hooks_memory.py [--write] [--device cuda]

- load: peak resident memory of a process that loads a checkpoint with `actkit.load`, against one that does so with
  `from_pretrained`: at most 1.02 times as much.
- loop: 200 captures of everything, garbage collection off: memory after the last is what it was after the first few.
- peak: what one capture adds to the memory held beforehand, at its highest point: at most what a plain forward adds and
  the bytes asked for, and 5 % more.

Each figure comes from a process of its own. Resident memory as Linux counts it; with `--device cuda` allocated memory
of that device for loop and peak.
"""

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch
from shapes import random_ids, random_model
from transformers import AutoModelForCausalLM

RESULTS = Path(__file__).parent / "results" / "hooks_memory.json"
ROWS, TOKENS = 4, 128
CAPTURES = 200
SITES = ("resid_post.*", "mlp_post.*", "attn_z.*", "attn_v.*", "attn_pattern.*")
MIB = 2**20


def main() -> None:
    """Measure, print, and write results/hooks_memory.json when asked to; exit code 1 when a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--write", action="store_true", help="write results/hooks_memory.json")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        what, *arguments = options.child
        print(json.dumps(CHILDREN[what](options.device, *arguments)))
        return
    with tempfile.TemporaryDirectory() as name:
        for shape in ("tiny", "gpt2-small"):
            random_model(shape).save_pretrained(Path(name) / shape)
        big, small = str(Path(name) / "gpt2-small"), str(Path(name) / "tiny")
        report = {"load": _load(big), "loop": _loop(options.device, small), "peak": _peak(options.device, big)}
    text = json.dumps({"unit": "MiB", **report}, indent=2)
    print(text)
    if options.write:
        known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        known[torch.cuda.get_device_name() if options.device.startswith("cuda") else "cpu"] = json.loads(text)
        RESULTS.write_text(json.dumps(known, indent=2) + "\n")
    sys.exit(not all(each["kept"] for part in report.values() for each in part.values()))


def _child(device: str, *arguments: str) -> Any:
    """What a fresh process measures. Freed memory goes back at once there, so that what is held is what is counted."""
    trim = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "TQDM_DISABLE": "1"}
    command = [sys.executable, __file__, "--device", device, "--child", *arguments]
    done = subprocess.run(command, env={**os.environ, **trim}, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _load(folder: str) -> dict[str, dict[str, Any]]:
    peaks = {way: statistics.median(_child("cpu", way, folder) for _ in range(3)) for way in ("actkit", "plain")}
    return {
        "peak": {**peaks, "ratio": peaks["actkit"] / peaks["plain"], "kept": peaks["actkit"] <= 1.02 * peaks["plain"]}
    }


def _loop(device: str, folder: str) -> dict[str, dict[str, Any]]:
    """Growth between the medians of captures 11 to 30 and of the last 20: under 0.5 MiB is called flat."""
    held = _child(device, "loop", folder)
    early, late = statistics.median(held[10:30]), statistics.median(held[-20:])
    return {"tiny, every site": {"early": early, "late": late, "kept": late - early < 0.5}}


def _peak(device: str, folder: str) -> dict[str, dict[str, Any]]:
    plain = _child(device, "peak", folder, "")["added"]
    found: dict[str, dict[str, Any]] = {}
    for sites in SITES:
        each = _child(device, "peak", folder, sites)
        allowed = 1.05 * (plain + each["asked"])
        found[f"gpt2-small, {sites}"] = {"plain": plain, **each, "allowed": allowed, "kept": each["added"] <= allowed}
    return found


def child_plain(_device: str, folder: str) -> float:
    """Peak of loading the usual way."""
    AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    return _highest("cpu")


def child_actkit(_device: str, folder: str) -> float:
    """Peak of loading our way."""
    import actkit

    actkit.load(folder, device="cpu")
    return _highest("cpu")


def child_loop(device: str, folder: str) -> list[float]:
    """Memory held after each capture, the captured things of the last one still being there."""
    import actkit

    model = actkit.load(folder, device=device)
    batch = model.encode(random_ids(model.hf, 2, 32))
    gc.disable()
    held: list[float] = []
    for _ in range(CAPTURES):
        run = model.run(batch, capture="*")
        held.append(_now(device))
        assert len(run) == len(model.sites)
    return held


def child_peak(device: str, folder: str, sites: str) -> dict[str, float]:
    """What one capture adds at its highest point, and the size of what was asked for; no sites: a plain forward."""
    import actkit

    model = actkit.load(folder, device=device)
    batch = model.encode(random_ids(model.hf, ROWS, TOKENS))

    def plain() -> object:
        given = {"attention_mask": batch.attention_mask, "position_ids": batch.position_ids}
        with torch.no_grad():
            return model.hf(input_ids=batch.input_ids, **given, use_cache=False, logits_to_keep=1)

    work: Callable[[], Any] = (lambda: model.run(batch, capture=sites)) if sites else plain
    work()
    before = _now(device)
    _forget_highest(device)
    seen = work()
    added = _highest(device) - before
    asked = sum(x.numel() * x.element_size() for x in seen.values()) / MIB if sites else 0.0
    return {"added": added, "asked": asked}


CHILDREN: dict[str, Callable[..., Any]] = {
    "plain": child_plain,
    "actkit": child_actkit,
    "loop": child_loop,
    "peak": child_peak,
}


def _now(device: str) -> float:
    if device == "cpu":
        return psutil.Process().memory_info().rss / MIB
    return torch.cuda.memory_allocated() / MIB


def _highest(device: str) -> float:
    """The peak since the process started, or since the last `_forget_highest`."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / MIB
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _forget_highest(device: str) -> None:
    if device == "cpu":
        Path("/proc/self/clear_refs").write_text("5")
    else:
        torch.cuda.reset_peak_memory_stats()


if __name__ == "__main__":
    main()
