"""One writer per folder."""

import fcntl
import os
from pathlib import Path

from runkit.errors import UsageError, disk_full


class Lock:
    """An advisory lock on `folder`, held until `release` or the end of the process, however it ends.

    Raises:
        UsageError: another process holds it; its id is named. It cannot be written, or is no folder.
    """

    def __init__(self, folder: Path) -> None:
        self._file = _opened(folder)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._file, 32, 0).decode(errors="replace").strip()
            os.close(self._file)
            raise UsageError(
                f"{folder} is being written by process {holder}: wait for it, or give another --out"
            ) from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        os.close(self._file)


def _opened(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        if disk_full(error):
            raise
        raise UsageError(
            f"{folder} cannot be written ({error.strerror}: {error.filename}): give --out a folder that can be, or "
            "start in another working folder"
        ) from error
