"""`train` of adapters and token rows killed with SIGKILL at random, then started again until done: the same student."""

from pathlib import Path

from memreason.options import TrainOptions
from memreason.train import train

from tests.faults.killing import killed, names_below, undisturbed
from tests.packages.memreason import made

KILLS = 8


def _options(place: Path, out: str) -> TrainOptions:
    return TrainOptions(
        data=str(place / "data"), model=str(place / "base"), out=place / out, epochs=16, batch_size=4, looks=8,
        look_at=3, save_every=7, rank=2, dropout=0.1, learning_rate=1e-2, device="cpu",
    )  # fmt: skip


def _files(folder: Path) -> dict[str, bytes]:
    kept = [*folder.glob("student/*"), *folder.glob("tables/*.parquet"), *folder.glob("*.partial")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in kept}


def test_kills_leave_no_trace(processes, tmp_path: Path):
    undisturbed(processes.Process(target=_data, args=(tmp_path,)))
    lasts, starts = (undisturbed(processes.Process(target=train, args=(_options(tmp_path, "calm"),))) for _ in range(2))
    rough = ["rough0"]
    killed(
        lambda: processes.Process(target=train, args=(_options(tmp_path, rough[-1]),)),
        lambda: names_below(tmp_path / rough[-1]),
        lambda: rough.append(f"rough{len(rough)}"),
        times=KILLS,
        parts=[names_below(tmp_path / "calm")],
        lasts=lasts,
        starts=starts,
        seed=5,
    )
    calm = _files(tmp_path / "calm")
    assert {"student/adapter_model.safetensors", "student/scheme.json", "tables/selection.parquet"} <= calm.keys()
    for each in rough:
        assert _files(tmp_path / each) == calm


def _data(place: Path) -> None:
    made.base(place / "base")
    made.traces(place / "data", [*made.items("train"), *made.items("dev")], texts=["Paris lies in France"])
