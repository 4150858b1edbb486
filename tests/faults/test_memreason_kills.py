"""`train` killed with SIGKILL at 20 random moments, then started again until done: the same student, byte for byte."""

import random
import time
from pathlib import Path

from memreason.options import TrainOptions
from memreason.train import train

from tests.packages.memreason import made

KILLS = 20


def _options(place: Path, out: str) -> TrainOptions:
    return TrainOptions(
        data=str(place / "data"), model=str(place / "base"), out=place / out, epochs=16, batch_size=4, looks=8,
        look_at=3, save_every=7, rank=2, dropout=0.1, learning_rate=1e-2, device="cpu",
    )  # fmt: skip


def _files(folder: Path) -> dict[str, bytes]:
    kept = [*folder.glob("student/*"), *folder.glob("tables/*.parquet"), *folder.glob("*.partial")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in kept}


def test_kills_leave_no_trace(processes, tmp_path: Path):
    making = processes.Process(target=_data, args=(tmp_path,))
    making.start()
    making.join()
    for name in ("first", "calm"):  # the first one also makes the MLflow store
        start = time.monotonic()
        process = processes.Process(target=train, args=(_options(tmp_path, name),))
        process.start()
        process.join()
        lasts = time.monotonic() - start
        assert process.exitcode == 0
    dice, died, number = random.Random(5), 0, 0
    while died < KILLS:
        process = processes.Process(target=train, args=(_options(tmp_path, f"rough{number}"),))
        process.start()
        process.join(dice.uniform(0.05, 0.65) * lasts)
        process.kill()
        process.join()
        died += process.exitcode == -9
        number += process.exitcode == 0  # it got to its end between two kills: the next ones are of a new run
    process = processes.Process(target=train, args=(_options(tmp_path, f"rough{number}"),))
    process.start()
    process.join()
    assert process.exitcode == 0
    calm = _files(tmp_path / "calm")
    assert {"student/adapter_model.safetensors", "student/scheme.json", "tables/selection.parquet"} <= calm.keys()
    for each in range(number + 1):
        assert _files(tmp_path / f"rough{each}") == calm


def _data(place: Path) -> None:
    made.base(place / "base")
    made.traces(place / "data", [*made.items("train"), *made.items("dev")], texts=["Paris lies in France"])
