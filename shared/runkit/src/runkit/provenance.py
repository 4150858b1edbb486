"""Where a run came from: code, libraries, machine, and the content of what it read."""

import os
import platform
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import xxhash

from runkit import files
from runkit.manifest import NAME

_LIBRARIES = (
    "torch",
    "transformers",
    "datasets",
    "numpy",
    "polars",
    "mlflow",
    "reasonscope-actkit",
    "reasonscope-runkit",
)


def tags() -> dict[str, str]:
    """Versions, machine and git commit, named as MLflow names them where it has a name."""
    libraries = {f"version.{name}": found for name in _LIBRARIES if (found := version_of(name))}
    return {"version.python": platform.python_version(), **libraries, "machine": machine(), **_git()}


@cache
def version_of(distribution: str) -> str | None:
    """Version of an installed distribution, None where there is none of that name."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def machine() -> str:
    """System, processor count and GPU (where PyTorch is loaded and sees one)."""
    torch: Any = sys.modules.get("torch")
    gpu = f", {torch.cuda.get_device_name()}" if torch is not None and torch.cuda.is_available() else ""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs{gpu}"


def fingerprint(path: Path) -> str:
    """xxh3-128 over the content of a file, or over names and contents of all files of a folder.

    A finished run is known by its manifest, which holds the hashes of its files.
    """
    if path.is_file():
        return files.digest(path)
    if (path / NAME).is_file():
        return files.digest(path / NAME)
    state = xxhash.xxh3_128()
    for each in files.files_below(path):
        state.update(f"{each.relative_to(path)}\n{files.digest(each)}\n".encode())
    return state.hexdigest()


@cache
def _git() -> dict[str, str]:
    commit = _ask_git("rev-parse", "HEAD")
    if not commit:
        return {}
    return {"mlflow.source.git.commit": commit, "git.dirty": str(bool(_ask_git("status", "--porcelain"))).lower()}


def _ask_git(*words: str) -> str:
    try:
        done = subprocess.run(["git", *words], capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):  # no git, no repository: the run is recorded without a commit
        return ""
    return done.stdout.strip()
