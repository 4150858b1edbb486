"""The `reasonscope` command line in a warm process of its own, as a terminal starts it: a group, files, a folder."""

import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

from runkit.options import command_line

from tests import terminal
from tests.faults.pipelines import PIPELINES

OFF = {"REASONSCOPE_MLFLOW": "off"}
"""No MLflow: what it would cost is none of the test's business."""


class Ended(NamedTuple):
    """`code` as a shell tells it, `said` on both streams, `seconds` since it was started or last waited for."""

    code: int
    said: str
    seconds: float


class Command:
    """`reasonscope PIPELINE` in `folder`, with the smallest options; `fault` is planted after its inputs are made."""

    def __init__(
        self, processes: Any, pipeline: str, folder: Path, fault: Callable[[], object] | None = None,
        variables: Mapping[str, str] = OFF, more: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        self._said = folder.with_name(f"{folder.name}.said.txt")
        self.process: BaseProcess = processes.Process(
            target=_enter, args=(pipeline, folder, self._said, fault, dict(variables), more)
        )
        self._since = time.monotonic()
        self.process.start()

    def signal(self, number: int) -> None:
        """As a terminal does it: to the whole process group."""
        self._since = time.monotonic()
        assert self.process.pid is not None
        os.killpg(self.process.pid, number)

    def ended(self, patience: float = 120) -> Ended:
        """Wait for its end."""
        self.process.join(patience)
        assert self.process.exitcode is not None, self._said.read_text()[-3000:]
        code = self.process.exitcode
        return Ended(code if code >= 0 else 128 - code, self._said.read_text(), time.monotonic() - self._since)


def argv(pipeline: str) -> list[str]:
    """The command line of a pipeline's smallest options."""
    return shlex.split(command_line(f"pipelines.{pipeline}", PIPELINES[pipeline].options))[1:]


def _enter(
    pipeline: str, folder: Path, said: Path, fault: Callable[[], object] | None, variables: dict[str, str],
    more: tuple[str, ...],
) -> None:  # fmt: skip
    terminal.enter(said)
    os.chdir(folder)
    os.environ.update(variables)
    PIPELINES[pipeline].shrink()
    if not Path("runs").is_dir():
        PIPELINES[pipeline].prepare()
    if fault is not None:
        fault()
    from reasonscope.cli import main

    sys.argv = ["reasonscope", *argv(pipeline), *more]
    main()
