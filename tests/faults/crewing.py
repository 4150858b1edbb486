"""A command whose stages run side by side in processes of their own, and take as long as they are let."""

import os
import time
from pathlib import Path

import runkit
from reasonscope.crew import side_by_side
from runkit.frame import guard

from tests import terminal


def slow(options: runkit.Options) -> Path:
    """A stage that never ends by itself."""
    with runkit.stage("toy.slow", options) as run:
        run.log("begun")
        while True:
            time.sleep(0.05)


def command(place: Path, said: Path) -> None:
    """Two of them at a time, of three; in a process group of their own."""
    terminal.enter(said)
    os.chdir(place)
    os.environ["REASONSCOPE_MLFLOW"] = "off"
    calls = [(slow, runkit.Options(seed=seed)) for seed in range(3)]
    guard("toy.crew", runkit.Options, lambda _: side_by_side(calls, 2))
