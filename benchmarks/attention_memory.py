"""What the analysis of attention needs of memory, against holding all maps.

    uv run python benchmarks/attention_memory.py [--write]

The stage `memreason attention` (without edits) over 50 and over 200 traces of a toy world, and the same traces through
Hugging Face with `output_attentions`, every map kept until the end. What each adds to the memory held after a small
first run, at its highest point; each figure from a process of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import torch
from memreason import arms
from memreason.attending.drawn import drawn
from memreason.codec import Codec
from memreason.data import Data
from memreason.options import AttentionOptions, ToyOptions
from memreason.student import Student
from memreason.training.rows import resized
from runkit.options import parse
from transformers import AutoModelForCausalLM, AutoTokenizer

RESULTS = Path(__file__).parent / "results" / "attention_memory.json"
FEW, MANY = 50, 200
LAYERS, HEADS = 12, 16


def main() -> None:
    """Measure, print, and write results/attention_memory.json when asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write results/attention_memory.json")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        work, folder, count = options.child
        print(CHILDREN[work](Path(folder), int(count)))
        return
    with tempfile.TemporaryDirectory() as name:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{name}/mlflow.db"
        folder = Path(name)
        _apart("made", folder, 0)
        report = {
            "unit": "MiB",
            "analysis": {count: _apart("analysed", folder, count) for count in (FEW, MANY)},
            "all maps held": {count: _apart("held", folder, count) for count in (FEW, MANY)},
        }
    few, many = report["analysis"].values()
    report |= {"growth": many / few, "times less": report["all maps held"][MANY] / many}
    text = json.dumps(report, indent=2)
    print(text)
    if options.write:
        RESULTS.write_text(text + "\n")


def _apart(work: str, folder: Path, count: int) -> float:
    """What a fresh process measures. Freed memory goes back at once there, so that what is held is what is counted."""
    trim = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    command = [sys.executable, __file__, "--child", work, str(folder), str(count)]
    done = subprocess.run(command, env={**os.environ, **trim}, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def _made(folder: Path, _: int) -> float:
    """A toy world, and an untrained student of arm typed for it."""
    from memreason.toy import toy

    sizes = {"layers": LAYERS, "heads": HEADS, "questions": 100, "test": MANY, "dev": 20}
    toy(parse(ToyOptions, {"out": folder / "toy", **sizes}))
    scheme = arms.scheme("typed", general=1, special=2)
    codec = Codec(AutoTokenizer.from_pretrained(folder / "toy/model"), scheme)
    model = AutoModelForCausalLM.from_pretrained(folder / "toy/model")
    resized(model, codec)
    model.save_pretrained(folder / "student")
    codec.tokenizer.save_pretrained(folder / "student")
    scheme.save(folder / "student")
    return 0.0


def _options(folder: Path, count: int) -> AttentionOptions:
    given = {"data": str(folder / "toy"), "model": str(folder / "student"), "limit": count, "out": folder / f"{count}"}
    return parse(AttentionOptions, {**given, "batch_size": 8, "causal": False, "device": "cpu"})


def _analysed(folder: Path, count: int) -> float:
    from memreason.attention import attention

    attention(_options(folder, 8))
    return _added(lambda: attention(_options(folder, count)))


def _held(folder: Path, count: int) -> float:
    options = _options(folder, count)
    found = drawn(Data.open(options.data), Student.load(options), options)
    hf = AutoModelForCausalLM.from_pretrained(folder / "student", attn_implementation="eager").eval()

    def maps(some: int) -> list[tuple[torch.Tensor, ...]]:
        with torch.no_grad():
            return [hf(torch.tensor([each.rendered.ids]), output_attentions=True).attentions for each in found[:some]]

    maps(2)
    return _added(lambda: maps(count))


def _added(work: Callable[[], object]) -> float:
    """How far memory rises above what is held now, looked at every few milliseconds."""
    before, done = _anonymous(), threading.Event()
    seen = [before]

    def watch() -> None:
        while not done.wait(0.003):
            seen.append(_anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    kept = work()
    seen.append(_anonymous())
    done.set()
    watcher.join()
    del kept
    return round(max(seen) - before, 1)


def _anonymous() -> float:
    """What the process has made itself, in memory or swapped out; files mapped come and go as the kernel likes."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return sum(int(lines[name].split()[0]) for name in ("RssAnon", "VmSwap")) / 1024


CHILDREN: dict[str, Callable[[Path, int], float]] = {"made": _made, "analysed": _analysed, "held": _held}


if __name__ == "__main__":
    main()
