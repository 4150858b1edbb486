"""What sources read from files have in common: names, digests, widths of sites, and tensors that follow the model."""

import re
from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import actkit
import torch
from runkit.errors import DataError, UsageError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor


class Found(NamedTuple):
    """What a file or folder gives: the source's name, its feature at each layer, digests of what was read."""

    name: str
    by_layer: Mapping[int, actkit.Feature]
    origin: Any


class Travelling:
    """Tensors, moved once to each device, in one dtype each, that they are asked for on."""

    def __init__(self, **tensors: Tensor) -> None:
        self.tensors = tensors
        self._moved: dict[tuple[torch.device, torch.dtype], dict[str, Tensor]] = {}

    def on(self, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
        """All of them there."""
        if (device, dtype) not in self._moved:
            self._moved[device, dtype] = {name: x.to(dtype).to(device) for name, x in self.tensors.items()}
        return self._moved[device, dtype]


def name_of(kind: str, place: Path) -> str:
    """KIND-NAME, safe in file names, and without the dots that part a feature's name."""
    name = place.resolve().name.removesuffix(".safetensors")
    return f"{kind}-" + re.sub(r"[^\w-]+", "_", name)


def tensors_of(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file. Raises DataError."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path} cannot be read as safetensors: {error}") from None


def placed(text: str, kind: str) -> Path:
    """The file or folder that is named. Raises UsageError where there is none."""
    path = Path(text).expanduser()
    if not text or not path.exists():
        raise UsageError(f"--features {kind}:{text}: there is no such {'folder' if kind == 'sae' else 'file'}")
    return path


def widths(model: actkit.Model, sites: Iterable[str]) -> dict[str, int]:
    """How many units each site has, found out by running two tokens through the model."""
    found: dict[str, int] = {}

    def look(site: str, x: Tensor) -> None:
        found[site] = prod(x.shape[2:])

    model.run(model.encode([[0, 0]]), capture=list(sites), logits=None, on_capture=look)
    return found
