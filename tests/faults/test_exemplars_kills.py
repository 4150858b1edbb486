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
    dice, rough, died = random.Random(4), _options(tmp_path, "rough"), 0
    for _ in range(KILLS):
        process = processes.Process(target=exemplars, args=(rough,))
        process.start()
        process.join(dice.uniform(0.1, 1.0) * lasts)
        process.kill()
        process.join()
        died += process.exitcode == -9
    process = processes.Process(target=exemplars, args=(rough,))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert died >= KILLS // 2, "hardly any process was still running when it was killed: the test would prove nothing"
    assert _files(tmp_path / "rough") == _files(tmp_path / "calm")
