"""A disk of its own, of any size, that only this process sees."""

import ctypes
import os
from pathlib import Path

_NEW_USER, _NEW_MOUNTS = 0x10000000, 0x00020000  # of unshare
_READ_ONLY, _REMOUNT = 1, 32  # of mount, as the next
_PRIVATE = 262144 | 16384  # of this process alone, and of all below


class SmallDisk:
    """A tmpfs of `size` bytes at `folder`, for this process and its children; gone when they are.

    Raises:
        OSError: the machine does not let processes have mounts of their own.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self._folder = folder
        self._libc = ctypes.CDLL(None, use_errno=True)
        user, group = os.geteuid(), os.getegid()
        _check(self._libc.unshare(_NEW_MOUNTS if user == 0 else _NEW_USER | _NEW_MOUNTS))
        if user:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"0 {user} 1")
            Path("/proc/self/gid_map").write_text(f"0 {group} 1")
        _check(self._libc.mount(None, b"/", None, _PRIVATE, None))
        self._mount(size, 0)

    def resize(self, size: int) -> None:
        """Another size, as long as all that is there has room."""
        self._mount(size, _REMOUNT)

    def seal(self) -> None:
        """Nothing can be written any more."""
        self._mount(0, _REMOUNT | _READ_ONLY)

    def _mount(self, size: int, flags: int) -> None:
        _check(self._libc.mount(b"none", bytes(self._folder), b"tmpfs", flags, f"size={size}".encode()))


def _check(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
