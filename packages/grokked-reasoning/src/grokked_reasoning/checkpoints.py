"""The checkpoints of a training run: folders checkpoint-N, ours with a seal that vouches for their files."""

import re
from pathlib import Path
from typing import NamedTuple

from runkit import files, journal
from runkit.errors import UsageError

SEAL = "seal.json"
FOLDER = "checkpoints"
_NAME = re.compile(r"checkpoint-(\d+)")


class Checkpoint(NamedTuple):
    """A model at a step of its training."""

    step: int
    folder: Path

    def fault(self) -> str | None:
        """What is wrong with its files, in words; None where the seal holds, or where it never had one."""
        path = self.folder / SEAL
        if not path.is_file():
            return None
        told = journal.unseal(path.read_bytes().removesuffix(b"\n"))
        if told is None:
            return f"{path} is damaged"
        for name, digest in told["files"].items():
            part = self.folder / name
            if not part.is_file():
                return f"{part} is missing"
            if files.digest(part) != digest:
                return f"{part} is damaged (its content is not what was written)"
        return None


def find(place: Path) -> list[Checkpoint]:
    """The checkpoints below a run's folder, or a folder of checkpoint-N folders, by step.

    Raises:
        UsageError: there is none.
    """
    home = place / FOLDER if (place / FOLDER).is_dir() else place
    found = [
        Checkpoint(int(match[1]), path)
        for path in home.glob("checkpoint-*")
        if (match := _NAME.fullmatch(path.name)) and (path / "config.json").is_file()
    ]
    if not found:
        raise UsageError(f"{place}: no checkpoint-N folders with a config.json: name a run of `train`")
    return sorted(found)


def chosen(found: list[Checkpoint], every: int) -> list[Checkpoint]:
    """Every n-th, the first and the last included. Raises UsageError for one whose files are damaged."""
    kept = [each for i, each in enumerate(found) if i % every == 0 or i == len(found) - 1]
    for each in kept:
        if told := each.fault():
            raise UsageError(f"{told}: delete {each.folder} and run the same `train` command again to make it anew")
    return kept


def seal(folder: Path, step: int, names: list[str]) -> None:
    """Vouch for the files of a checkpoint; written last."""
    told = {"step": step, "files": {name: files.digest(folder / name) for name in sorted(names)}}
    files.write_bytes(folder / SEAL, journal.seal(told))
