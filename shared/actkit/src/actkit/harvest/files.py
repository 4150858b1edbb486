"""Files that are either whole or absent, and the hashes that prove it."""

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import xxhash
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from actkit.errors import ActkitError

REBUILD = "Harvest anew into it with resume=False, or restore the file from a copy."
_UNFINISHED = ".part"
_CHUNK = 1 << 22


class StoreError(ActkitError):
    """A harvest's folder is not what it says it is: not a store, of another harvest, unfinished, or damaged."""


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> str:
    """Write tensors to one safetensors file, whole or not at all; returns its hash."""
    return _whole(path, lambda part: save_file({name: x.contiguous() for name, x in tensors.items()}, part))


def write_json(path: Path, content: Any) -> str:
    """Write JSON, whole or not at all; the same content gives the same bytes. Returns its hash."""
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    return _whole(path, lambda part: part.write_text(text))


def _whole(path: Path, write: Callable[[Path], object]) -> str:
    """Temporary name, flush to disk, rename, flush the folder: what outlasts a kill or a power cut at any point."""
    part = path.with_name(path.name + _UNFINISHED)
    write(part)
    _flush(part)
    found = digest(part)
    part.replace(path)
    _flush(path.parent)
    return found


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def digest(path: Path) -> str:
    """xxh3-128 of a file's bytes, as 32 hexadecimal digits."""
    state = xxhash.xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            state.update(chunk)
    return state.hexdigest()


def read_json(path: Path) -> Any:
    """JSON of one of our own files. Raises StoreError, naming the file, when it cannot be read."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read: {error}", REBUILD) from error


def check(path: Path, expected: str) -> None:
    """Raise StoreError unless the file is there with the bytes it was written with."""
    found = digest(path) if path.is_file() else "no such file"
    if found != expected:
        raise StoreError(f"{path} is damaged.\nexpected xxh3-128: {expected}\nfound: {found}", REBUILD)


def read_tensors(path: Path, expected: str) -> dict[str, Tensor]:
    """Tensors of a file, on the CPU. Raises StoreError when its bytes are not those it was written with."""
    check(path, expected)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise StoreError(f"{path} cannot be read: {error}", REBUILD) from error


def remove(paths: Iterable[Path]) -> None:
    """Delete these files, and what a killed writer left of them."""
    for path in paths:
        path.unlink(missing_ok=True)
        path.with_name(path.name + _UNFINISHED).unlink(missing_ok=True)
