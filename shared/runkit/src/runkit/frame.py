"""How a command ends: 0 done, 1 failed, 2 bad usage, 130 interrupted, 143 told to end; a sentence, not a traceback."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import typer

from runkit.errors import ReasonscopeError, disk_full
from runkit.options import Options, command_line
from runkit.redact import redact

T = TypeVar("T", bound=Options)


class Terminated(KeyboardInterrupt):
    """SIGTERM, by which schedulers announce that they will kill: a run ends by it as by Ctrl-C."""


def guard(stage: str, options: Callable[[], T], run: Callable[[T], None]) -> None:
    """Make the options, run the stage with them, and turn whatever goes wrong into a message and an exit code."""
    made: T | None = None
    _settle_libraries()
    try:
        with _terminable():
            made = options()
            run(made)
    except KeyboardInterrupt as how:
        _interrupted(stage, made, 143 if isinstance(how, Terminated) else 130)
    except Exception as error:  # the outermost frame: every failure must end in a message and an exit code
        if made is not None and made.debug:
            raise
        fail(error)


@contextmanager
def _terminable() -> Generator[None]:
    """SIGTERM raises `Terminated` meanwhile."""

    def end(*_: Any) -> NoReturn:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():  # others are not given signals
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _settle_libraries() -> None:
    """What libraries read from the environment when they are first imported, which is later than this."""
    # Threads that wait by spinning make small matrix products 25 times slower where the cores have anything else to do.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing leaves the machine unasked
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def _interrupted(stage: str, options: Options | None, code: int) -> NoReturn:
    resume = command_line(stage, options) if options is not None else stage.replace(".", " ", 1)
    _say(f"interrupted; the same command goes on where it stopped:\n  {resume}")
    sys.stdout.flush()
    os._exit(code)  # at once: exit hooks of loaded libraries and half-finished uploads may take many seconds


def fail(error: Exception) -> NoReturn:
    """Say what went wrong and leave with its exit code: in full where the message was written for users."""
    if is_clean(error):
        _say(f"error: {error}")
        raise typer.Exit(getattr(error, "exit_code", 1))
    if disk_full(error):
        _say(
            f"error: the disk is full ({error}): make room and run the same command again, it goes on where it stopped"
        )
        raise typer.Exit(1)
    _say(f"error: {type(error).__name__}: {error}\nrun again with --debug for the traceback")
    raise typer.Exit(1)


def is_clean(error: BaseException) -> bool:
    """Whether an error's message was written for users; libraries below runkit say so by `user_facing` or a `hint`."""
    return isinstance(error, ReasonscopeError) or bool(getattr(error, "user_facing", False)) or hasattr(error, "hint")


def _say(text: str) -> None:
    print(redact(text), file=sys.stderr, flush=True)
