"""`ablate` killed with SIGKILL at random, then started again until done: the same bytes in the end."""

import random
from pathlib import Path

import polars as pl
from cot_neurons.ablate import ablate
from cot_neurons.options import AblateOptions
from specimens import families

from tests.packages.cot_neurons import made

KILLS = 3
COPIES = 5  # of the four chains


def _options(place: Path, **given: object) -> AblateOptions:
    tokenizer = families.tiny_tokenizer()
    model = str(families.save("llama", place / "tiny"))
    many = made.items("tiny", tokenizer, prompts=made.PROMPTS * COPIES, chains=made.CHAINS * COPIES,
                      right=made.RIGHT * COPIES).with_columns(solution=pl.col("text"))  # fmt: skip
    labels = made.labels("tiny", [(0, 3, "+", "add"), (1, 5, "-", "add"), (2, 9, "+", "so")])
    options = {
        "model": model, "items": made.save(many, place / "items.parquet"), "min_auroc": 0, "mode": "noise",
        "labels": made.save(labels, place / "labels.parquet"), "draws": 3, "batch_size": 8,
    }  # fmt: skip
    return AblateOptions.model_validate({**options, **given})


def _run(processes, options: AblateOptions) -> None:
    process = processes.Process(target=ablate, args=(options,))
    process.start()
    process.join()
    assert process.exitcode == 0


def _pieces(folder: Path) -> int:
    return sum(1 for _ in folder.rglob("0*.parquet"))


def _bytes(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted((folder / "tables").glob("*.parquet"))}


def test_kills_leave_no_trace(processes, tmp_path: Path):
    options = _options(tmp_path, out=tmp_path / "calm")
    _run(processes, options.model_copy(update={"limit": 1, "out": tmp_path / "first"}))  # which makes the MLflow store
    _run(processes, options)
    undisturbed = _bytes(tmp_path / "calm")
    rng = random.Random(6)
    rough, died = options.model_copy(update={"out": tmp_path / "rough"}), 0
    for _ in range(KILLS):
        process = processes.Process(target=ablate, args=(rough,))
        wanted = _pieces(tmp_path / "rough") + rng.randint(1, 9)  # of 45 in all
        process.start()
        while process.is_alive() and _pieces(tmp_path / "rough") < wanted:
            process.join(0.005)
        process.join(rng.uniform(0, 0.02))
        process.kill()
        process.join()
        died += process.exitcode == -9
    _run(processes, rough)
    assert died >= KILLS // 2, "hardly any process was still running when it was killed: the test would prove nothing"
    assert set(undisturbed) == {f"{name}.parquet" for name in ("conditions", "effects", "outcomes", "tests")}
    disturbed = _bytes(tmp_path / "rough")
    for name, content in undisturbed.items():
        assert disturbed[name] == content, f"{name} differs"
