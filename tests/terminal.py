"""A command in a forked process, as a terminal starts it."""

import os
import signal
from pathlib import Path


def enter(said: Path) -> None:
    """In a process group of its own, Ctrl-C raises KeyboardInterrupt, and both streams go to the file `said`."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    stream = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
