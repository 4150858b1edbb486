"""Files that are either whole or absent, and the hashes that prove it."""

import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import xxhash

STALE = re.compile(r"\.tmp\.\d+$|^\.tmp\w{6}$")  # ours, and those of safetensors
_CHUNK = 1 << 22
_MASK = os.umask(0)
os.umask(_MASK)


@contextmanager
def atomic(path: Path | str) -> Generator[Path]:
    """Yield a temporary path beside `path`; what is written there becomes `path` at the end, all of it or nothing.

    The order (write, fsync, rename, fsync of the folder) is what survives a kill or a power cut at any point.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp.{os.getpid()}")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    except BaseException:  # raised again, once nothing half-written is left
        temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write `content` to `path` atomically."""
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def sync(path: Path) -> None:
    """fsync a file or a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def share(path: Path) -> None:
    """Let a file be read by whom the user lets read; some writers of weights let nobody else."""
    path.chmod(0o666 & ~_MASK)


def digest(path: Path) -> str:
    """xxh3-128 of a file's bytes, in hex (32 digits)."""
    state = xxhash.xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            state.update(chunk)
    return state.hexdigest()


def files_below(folder: Path) -> list[Path]:
    """Every finished file below `folder`, sorted by path; hidden ones and leftovers of a killed write are left out."""
    found = (path for path in folder.rglob("*") if path.is_file() and not STALE.search(path.name))
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def remove_stale(folder: Path) -> None:
    """Delete what killed processes left half-written below `folder`."""
    for path in folder.rglob("*.tmp*"):
        if STALE.search(path.name):
            path.unlink(missing_ok=True)
