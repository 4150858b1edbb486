"""What the scripts of all environments share: which checkpoints and batches there are, and how results are written."""

import json
import platform
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

Batch = dict[str, Tensor]
"""`input_ids`, `attention_mask`, `position_ids`: [B, T]."""
Seen = dict[str, Tensor]
"""Site name -> [B, T, ...]. `attn_pattern.L`: [B, T, H, T keys]."""

BATCHES = {
    "equal": [[5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16], [40, 3, 77, 8, 130, 10, 11, 200, 13, 14, 255, 16]],
    "padded": [[5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16], [20, 21, 22], [30, 31, 32, 33, 34, 35, 36]],
}
"""Rows of ids; the longest is longer than the sliding window of the Mistral checkpoint."""


def batch_of(rows: list[list[int]]) -> Batch:
    """Rows padded on the left; positions count real tokens."""
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(-1) - 1).clamp(min=0)}


def families(work: Path) -> list[str]:
    """Names of the checkpoints in the work folder."""
    return sorted(folder.name for folder in (work / "checkpoints").iterdir())


def cases(work: Path) -> Iterator[tuple[str, str]]:
    """Every family with every batch."""
    return ((family, name) for family in families(work) for name in BATCHES)


def look(peer: str, package: str, see: Callable[[Path, Batch], Seen]) -> None:
    """The main of a peer's script: every case of the work folder named on the command line, seen and written."""
    work = Path(sys.argv[1])
    folder = work / peer
    folder.mkdir()
    for family, name in cases(work):
        with torch.no_grad():
            seen = see(work / "checkpoints" / family, batch_of(BATCHES[name]))
        save_file({site: x.contiguous().clone() for site, x in seen.items()}, folder / f"{family}.{name}.safetensors")
    (folder / "versions.json").write_text(json.dumps(versions(package)))


def seen_by(peer: str, work: Path, family: str, name: str) -> Seen:
    """What that peer wrote for one case."""
    return load_file(work / peer / f"{family}.{name}.safetensors")


def versions(package: str) -> dict[str, str]:
    """Of the package and of what it stands on, in this environment."""
    found = {name: version(name) for name in (package, "torch", "transformers")}
    return {**found, "python": platform.python_version()}


if __name__ == "__main__":
    print(json.dumps(versions(sys.argv[1])))
