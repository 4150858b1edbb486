"""The sequences of a split on disk, and as rows for a model."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from runkit import files
from safetensors.numpy import save

from expgen.corpus import Split

NAME = "text.safetensors"


def write(folder: Path, split: Split) -> Path:
    """Write `text.safetensors` as `expgen.store` reads it; the same split gives the same bytes. Returns its path."""
    tensors = {
        "ids": split.ids.astype(np.int32),
        "starts": split.starts.astype(np.int32),
        "ends": split.ends.astype(np.int32),
        "valid": split.valid.astype(np.uint8),
        "first": split.first.astype(np.int64),
    }
    files.write_bytes(folder / NAME, save({name: np.ascontiguousarray(x) for name, x in tensors.items()}))
    return folder / NAME


def rows(split: Split) -> Iterator[list[int]]:
    """The token ids of each sequence, in order."""
    return (split.ids[start:end].tolist() for start, end in pairwise(split.first.tolist()))
