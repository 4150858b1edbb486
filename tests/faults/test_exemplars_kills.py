"""`exemplars` killed with SIGKILL at 20 random points, then started again until done: identical files."""

import json
import random
import time
from pathlib import Path

import numpy as np
from expgen.exemplars import exemplars
from expgen.options import ExemplarsOptions
from specimens import families

KILLS = 20


def _options(place: Path, out: str) -> ExemplarsOptions:
    return ExemplarsOptions(
        model=str(place / "tiny"), data=(str(place / "texts.jsonl"),), out=place / out, k=5, random=6, batch_size=2,
        device="cpu",
    )  # fmt: skip


def _files(folder: Path) -> dict[str, bytes]:
    kept = [*folder.glob("exemplars/**/*"), *folder.glob("tables/*.parquet"), folder / "about.json"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in kept if path.is_file()}


def test_kills_leave_no_trace(processes, tmp_path: Path):
    rng = np.random.default_rng(1)
    words = ["Tom", "has", "red", "pens", "and", "finds", "blue", "cups"]
    texts = [" ".join(rng.choice(words, 20)) for _ in range(200)]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    families.save("llama", tmp_path / "tiny")
    for name in ("first", "calm"):  # the first one also makes the MLflow store
        start = time.monotonic()
        process = processes.Process(target=exemplars, args=(_options(tmp_path, name),))
        process.start()
        process.join()
        lasts = time.monotonic() - start
        assert process.exitcode == 0
    dice, died, number = random.Random(4), 0, 0
    while died < KILLS:
        process = processes.Process(target=exemplars, args=(_options(tmp_path, f"rough{number}"),))
        process.start()
        process.join(dice.uniform(0.05, 0.7) * lasts)
        process.kill()
        process.join()
        died += process.exitcode == -9
        if process.exitcode == 0:  # it got to its end between two kills: the next ones are of a new run
            number += 1
    process = processes.Process(target=exemplars, args=(_options(tmp_path, f"rough{number}"),))
    process.start()
    process.join()
    assert process.exitcode == 0
    calm = _files(tmp_path / "calm")
    for each in range(number + 1):
        assert _files(tmp_path / f"rough{each}") == calm
