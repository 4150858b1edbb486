"""The command `specimens train-tiny-reasoner`, killed and started again."""

import json
import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest
from specimens import evaluation, train_tiny_reasoner
from specimens.cli import app
from typer.testing import CliRunner

OPTIONS = ["train-tiny-reasoner", "--steps", "4", "--save-every", "2", "--problems", "2", "--keep", "2,4", "--out"]
SIZE = {"layers": 2, "d_model": 40, "d_mlp": 64, "heads": 2}


def command(folder: Path, out: str) -> None:
    """The command, for a smaller model that says less."""
    os.chdir(folder)
    os.environ["REASONSCOPE_MLFLOW"] = "off"
    train_tiny_reasoner.TrainConfig = partial(train_tiny_reasoner.TrainConfig, tokenizer_documents=800, **SIZE)
    evaluation.MAX_NEW_TOKENS = 24
    app([*OPTIONS, out], standalone_mode=False)


def kill_after_first_checkpoint(process, out: Path) -> int:
    """Kill the command between its first and second checkpoint."""
    process.start()
    deadline = time.monotonic() + 200
    while not (out / "checkpoint" / "progress.jsonl").exists() and process.is_alive():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.join()
    return process.exitcode


@pytest.fixture(scope="module")
def folder(processes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds whole/, made in one go, and killed/, whose first process was killed after its first checkpoint."""
    folder = tmp_path_factory.mktemp("stage")
    first = processes.Process(target=command, args=(folder, "killed"))
    assert kill_after_first_checkpoint(first, folder / "killed") == -signal.SIGKILL
    assert not (folder / "killed" / "manifest.json").exists()
    for out in ("whole", "killed"):
        process = processes.Process(target=command, args=(folder, out))
        process.start()
        process.join()
        assert process.exitcode == 0
    return folder


def test_killed_and_resumed_is_the_same_model_and_the_same_tables(folder: Path):
    kept = [f"checkpoints/checkpoint-{step}/model.safetensors" for step in (2, 4)]
    same = [*kept, "checkpoint/checkpoint.safetensors", "model/model.safetensors", "model/tokenizer.json"]
    for name in [*same, "tables/losses.parquet", "tables/scores.parquet"]:
        assert (folder / "whole" / name).read_bytes() == (folder / "killed" / name).read_bytes(), name
    early, last = ((folder / "whole" / name).read_bytes() for name in kept)
    assert early != last == (folder / "whole" / "model" / "model.safetensors").read_bytes()


def test_record_and_manifest_tell_of_the_run(folder: Path):
    record = json.loads((folder / "killed" / "model" / "run.json").read_text())
    assert record["config"]["steps"] == 4
    assert record["tokens"] == 4 * 8 * 512
    assert [step for step, _ in record["losses"]] == [2, 4]
    assert sum(s["problems"] for s in record["scores"] if s["group"] == "all") == 4 * 2
    assert "model/model.safetensors" in (folder / "killed" / "manifest.json").read_text()


def test_path_tells_where_a_specimen_lies():
    result = CliRunner().invoke(app, ["path", "tiny-reasoner"])
    assert (Path(result.stdout.strip()) / "model.safetensors").is_file()
    wrong = CliRunner().invoke(app, ["path", "tiny-reasone"])
    assert wrong.exit_code == 2
    assert "did you mean 'tiny-reasoner'" in wrong.stderr
