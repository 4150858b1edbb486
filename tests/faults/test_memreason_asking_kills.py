"""`evaluate` killed with SIGKILL while it asks, then started again until done: the same tables, byte for byte."""

import time
from pathlib import Path

from memreason.evaluate import evaluate
from memreason.options import EvaluateOptions

from tests.faults.killing import run
from tests.packages.memreason import made

PIECES = (2, 1, 3)
"""Batches that each process answers before it is killed; there are ten."""


def _options(place: Path, out: str) -> EvaluateOptions:
    return EvaluateOptions(
        data=str(place / "data"), model=str(place / "student"), splits=("test", "dev"), batch_size=3,
        max_new_tokens=60, temperature=1.0, grammar=True, device="cpu", out=place / out,
    )  # fmt: skip


def _pieces(folder: Path) -> int:
    return len(list(folder.glob("parts/answers/*.parquet")))


def _killed(processes, options: EvaluateOptions, pieces: int) -> bool:
    """Start, wait for so many pieces more, kill; whether it was still asking then."""
    folder = Path(options.out or "")
    wanted = _pieces(folder) + pieces
    process = processes.Process(target=evaluate, args=(options,))
    process.start()
    while process.is_alive() and _pieces(folder) < wanted:
        time.sleep(0.002)
    process.kill()
    process.join()
    return process.exitcode == -9


def test_kills_leave_no_trace(processes, tmp_path: Path):
    made.traces(tmp_path / "data")
    made.student(tmp_path / "student")
    run(processes, evaluate, _options(tmp_path, "calm"))
    rough = _options(tmp_path, "rough")
    died = [_killed(processes, rough, pieces) for pieces in PIECES]
    assert sum(died) >= 2, "hardly any process was killed while it asked: the test would prove nothing"
    assert _pieces(tmp_path / "rough") >= sum(pieces for pieces, one in zip(PIECES, died, strict=True) if one)
    run(processes, evaluate, rough)
    for name in ("tables/answers.parquet", "figures/accuracy.png"):
        assert (tmp_path / "rough" / name).read_bytes() == (tmp_path / "calm" / name).read_bytes(), name
