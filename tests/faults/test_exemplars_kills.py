"""`exemplars` killed with SIGKILL at 20 random points, then started again until done: identical files."""

import json
from functools import partial
from pathlib import Path

import numpy as np
from expgen.exemplars import exemplars
from expgen.options import ExemplarsOptions
from specimens import families

from tests.faults.killing import killed

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
    rough = killed(processes, exemplars, partial(_options, tmp_path), times=KILLS, window=(0.05, 0.7), seed=4)
    calm = _files(tmp_path / "calm")
    for each in rough:
        assert _files(tmp_path / each) == calm
