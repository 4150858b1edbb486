"""A pipeline whose stages run side by side is killed: no process outlives it."""

import os
import time
from pathlib import Path

import pytest
from reasonscope.grokking import grokking
from reasonscope.options import GrokkingOptions
from runkit.errors import UsageError
from runkit.lock import Lock


def _trained(folder: Path) -> None:
    os.chdir(folder)
    os.environ["REASONSCOPE_MLFLOW"] = "off"
    grokking(GrokkingOptions(limit=8, at_once=2))


def test_trainings_end_with_a_pipeline_that_is_killed(processes, tmp_path: Path):
    process = processes.Process(target=_trained, args=(tmp_path,))
    process.start()
    while not (begun := list(tmp_path.glob("runs/grokked-reasoning.train-*/journal.jsonl"))):
        assert process.is_alive(), "it ended before it trained"
        time.sleep(0.2)
    with pytest.raises(UsageError, match="is being written"):
        Lock(begun[0].parent)
    process.kill()
    process.join()
    assert _free(begun[0].parent), "its training still runs"


def _free(folder: Path) -> bool:
    """Whether the folder's lock is let go of within a minute."""
    for _ in range(120):
        try:
            Lock(folder).release()
        except UsageError:
            time.sleep(0.5)
        else:
            return True
    return False
