"""The original code's folder: which splits and layers it has, and their arrays, checked and not yet read.

`SPLIT/layerL/`, for `max` and `min`: `_acts` [I, n], each neuron's highest or lowest sequence peaks; `_seq_acts` and
`_seq_ids` [I, k, T], its k strongest sequences, infinite where there is padding; `_dataset_ids` [I, k]. The splits that
begin with random_ have no `_acts`, and sequences drawn at random, for each neuron its own.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
from jaxtyping import Float, Int
from runkit.errors import DataError, UsageError, nearest

from expgen.tables import SPLITS

CONFIG = "exemplar_config.json"
_POLES = ("max", "min")
_LAYER = re.compile(r"layer(\d+)")


class Pole(NamedTuple):
    """The arrays of one polarity, mapped from their files. `peaks`: None in random splits."""

    folder: Path
    name: str
    peaks: Float[np.ndarray, "I n"] | None
    acts: Float[np.ndarray, "I k T"]
    ids: Int[np.ndarray, "I k T"]
    datasets: Int[np.ndarray, "I k"]

    def file(self, what: str) -> Path:
        """The file of an array."""
        return self.folder / f"{self.name}_{what}.npy"


class Sizes(NamedTuple):
    """Neurons of a layer, sequences per neuron and polarity, and tokens of a sequence, padding included."""

    neurons: int
    k: int
    tokens: int


class Layout:
    """A folder of the original's. `splits`: those there are, in our order; `random`: those with random sequences.

    Every file of the layers asked for is opened and its shape checked at once, so that no fault is found hours later.

    Raises:
        UsageError: the folder is none of these, or a layer asked for is not there.
        DataError: names the file that is missing, unreadable or of another shape than the others.
    """

    def __init__(self, folder: Path, layers: Sequence[int]) -> None:
        self.folder = folder
        self.splits = [split for split in SPLITS if (folder / split).is_dir()]
        self.random = [split for split in SPLITS if (folder / f"random_{split}").is_dir()]
        if "train" not in self.splits:
            there = [each.name for each in folder.iterdir()] if folder.is_dir() else []
            raise UsageError(f"--folder {folder} has no folder train/; {nearest('train', there)}")
        self.layers = _chosen(folder / "train", layers)
        self.names = _names(folder / CONFIG)
        first = _array(folder / f"train/layer{self.layers[0]}/max_seq_acts.npy", (None, None, None))
        self.sizes = Sizes(*first.shape)
        for split in [*self.splits, *(f"random_{each}" for each in self.random)]:
            for layer in self.layers:
                self.poles(split, layer)

    def poles(self, split: str, layer: int) -> tuple[Pole, Pole]:
        """The highest and the lowest of a layer in a split, as the folder spells it."""
        high, low = (self._pole(self.folder / split / f"layer{layer}", name) for name in _POLES)
        return high, low

    def _pole(self, folder: Path, name: str) -> Pole:
        neurons, k, tokens = self.sizes
        drawn = folder.parent.name.startswith("random_")
        rows = None if drawn else k
        acts = _array(folder / f"{name}_seq_acts.npy", (neurons, rows, tokens))
        ids = _array(folder / f"{name}_seq_ids.npy", (neurons, acts.shape[1], tokens), "iu")
        datasets = _array(folder / f"{name}_dataset_ids.npy", (neurons, acts.shape[1]), "iu")
        peaks = None if drawn else _array(folder / f"{name}_acts.npy", (neurons, None))
        return Pole(folder, name, peaks, acts, ids, datasets)


def _chosen(train: Path, layers: Sequence[int]) -> list[int]:
    there = sorted(int(match[1]) for each in train.iterdir() if (match := _LAYER.fullmatch(each.name)))
    if not there:
        raise UsageError(f"{train} has no folders layer0, layer1, ...")
    if missing := [layer for layer in layers if layer not in there]:
        raise UsageError(f"--layers {missing[0]}: {train} has layers {', '.join(map(str, there))}")
    return sorted(set(layers)) or there


def _array(path: Path, shape: tuple[int | None, ...], kinds: str = "f") -> np.ndarray:
    """An array mapped from its file. `shape`: None is any size but 0; `kinds`: of its numbers."""
    if not path.is_file():
        raise DataError(f"{path} is missing")
    try:
        found = np.load(path, mmap_mode="r")
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read as a NumPy array: {error}") from None
    fits = len(found.shape) == len(shape) and all(n in (m, None) and m for m, n in zip(found.shape, shape, strict=True))
    if not fits:
        told = ", ".join("any" if n is None else str(n) for n in shape)
        raise DataError(f"{path}: expected shape [{told}], found {list(found.shape)}")
    if found.dtype.kind not in kinds:
        raise DataError(
            f"{path}: expected {'whole' if 'i' in kinds else 'floating-point'} numbers, found {found.dtype}"
        )
    return found


def _names(config: Path) -> list[str]:
    """What the data sets are called, by their number: the original counts them in the order of the alphabet."""
    try:
        said: Any = orjson.loads(config.read_bytes()) if config.is_file() else {}
        found: Iterable[str] = [str(each["hf_dataset_id"]) for each in said.get("hf_dataset_configs", [])]
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
        raise DataError(
            f"{config} cannot be read: expected hf_dataset_configs, each with hf_dataset_id ({error})"
        ) from None
    return sorted(found, key=lambda name: name.rpartition("/")[2])
