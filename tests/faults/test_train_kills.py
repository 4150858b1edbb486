"""`train` killed with SIGKILL at 20 random points, then started again until done: the same weights, byte for byte."""

import random
import time
from pathlib import Path

from grokked_reasoning.options import TrainOptions
from grokked_reasoning.train import train

from tests.packages.grokked_reasoning import small_world

KILLS = 20
STEPS = 400


def _options(place: Path, out: str, **given: object) -> TrainOptions:
    return TrainOptions.model_validate(
        {
            "data": str(place / "world"), "out": place / out, "layers": 1, "width": 16, "heads": 2, "batch_size": 32,
            "warmup": 20, "threads": 1, "device": "cpu", "max_steps": STEPS, "evaluate_every": 10, "save_every": 10,
            "keep": 4, "stop": "never", **given,
        }
    )  # fmt: skip


def _newest(folder: Path) -> int:
    """The step of the newest folder, half-written ones too."""
    names = [path.name.removesuffix(".partial") for path in folder.glob("checkpoints/checkpoint-*")]
    return max((int(name.rpartition("-")[2]) for name in names), default=0)


def _kill_at(processes, options: TrainOptions, steps: int, delay: float) -> bool:
    """Start, wait for so many steps more and a moment, kill; whether it was still running then."""
    folder = Path(options.out or "")
    wanted = _newest(folder) + steps
    process = processes.Process(target=train, args=(options,))
    process.start()
    while process.is_alive() and _newest(folder) < wanted:
        time.sleep(0.001)
    process.join(delay)
    process.kill()
    process.join()
    return process.exitcode == -9


def test_kills_leave_no_trace(processes, tmp_path: Path):
    small_world.write(tmp_path / "world")
    for options in (_options(tmp_path, "first", max_steps=10), _options(tmp_path, "calm")):  # first: makes the store
        process = processes.Process(target=train, args=(options,))
        process.start()
        process.join()
        assert process.exitcode == 0
    rng = random.Random(3)
    rough = _options(tmp_path, "rough")
    died = sum(_kill_at(processes, rough, rng.choice([10, 10, 10, 20]), rng.uniform(0, 0.03)) for _ in range(KILLS))
    process = processes.Process(target=train, args=(rough,))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert died >= KILLS - 5, "hardly any process was still running when it was killed: the test would prove nothing"
    for name in (f"checkpoints/checkpoint-{STEPS}/model.safetensors", "tables/curves.parquet", "tables/losses.parquet"):
        assert (tmp_path / "rough" / name).read_bytes() == (tmp_path / "calm" / name).read_bytes(), name
    kept = [sorted(path.name for path in (tmp_path / out / "checkpoints").iterdir()) for out in ("calm", "rough")]
    assert kept[0] == kept[1]
