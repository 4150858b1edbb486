"""The command `specimens train-tiny-reasoner`, killed and started again."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from specimens.cli import app
from typer.testing import CliRunner

OPTIONS = ["train-tiny-reasoner", "--steps", "4", "--save-every", "2", "--problems", "2", "--keep", "2,4", "--out"]
NOWHERE = "http://127.0.0.1:9"  # MLflow is not what is tested here, and a stage does without


def kill_after_first_checkpoint(out: Path) -> int:
    """Starts the command in a process of its own and kills it between its first and second checkpoint."""
    command = [sys.executable, "-c", "from specimens.cli import main; main()", *OPTIONS, str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ))
    deadline = time.monotonic() + 200
    while not (out / "checkpoint" / "progress.jsonl").exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    return process.wait()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Holds whole/, made in one go, and killed/, whose first process was killed after its first checkpoint."""
    folder = tmp_path_factory.mktemp("stage")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", NOWHERE)
        patch.setenv("OMP_NUM_THREADS", "1")
        assert kill_after_first_checkpoint(folder / "killed") == -signal.SIGKILL
        assert not (folder / "killed" / "manifest.json").exists()
        for out in ("whole", "killed"):
            result = CliRunner().invoke(app, [*OPTIONS, out])
            assert result.exit_code == 0, result.output
            assert f"artifacts: {out}" in result.stdout.splitlines()[-1]
        yield folder


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
