"""A data folder in memory: rows of token ids, ready for the device.

Files and fields are those of the original code (`input_text`, `target_text`, sometimes `type`), so its data load too.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson
from jaxtyping import Int
from runkit import manifest
from runkit.errors import DataError, UsageError

from grokked_reasoning.vocabulary import ANSWER, END, Vocabulary, pieces

Supervise = Literal["answer", "target"]


@dataclass(frozen=True)
class Rows:
    """Facts as token ids: prompt, then answer, then padding (id 0).

    ids: [N, T]; start: [N], place of the first token that is learned or asked for; length: [N], how many those are.
    kinds: [N], the row's `type`, "" where it has none.
    """

    ids: Int[np.ndarray, "N T"]
    start: Int[np.ndarray, " N"]
    length: Int[np.ndarray, " N"]
    kinds: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, which: np.ndarray | slice) -> "Rows":
        """Some of the rows: indices, a mask or a slice."""
        return Rows(self.ids[which], self.start[which], self.length[which], self.kinds[which])

    def of(self, kind: str) -> "Rows":
        """The rows of a type."""
        return self.take(self.kinds == kind)

    def prompt(self, row: int) -> list[int]:
        """The tokens before the first one asked for."""
        return self.ids[row, : self.start[row]].tolist()


@dataclass(frozen=True)
class World:
    """What a data folder says of itself (world.json).

    trained, id, ood: types of rows whose accuracy tells that training facts are fitted, and that unseen inferred facts
    of the first kind (in distribution) and of the second (out of distribution) are answered.
    """

    task: str
    trained: tuple[str, ...] = ("id_atomic", "ood_atomic", "train_inferred")
    id: tuple[str, ...] = ("test_inferred_iid",)
    ood: tuple[str, ...] = ("test_inferred_ood",)
    facts: dict[str, Any] = field(default_factory=dict)
    """Everything else: options, counts, seed."""


@dataclass(frozen=True)
class Data:
    """A data folder."""

    folder: Path
    world: World
    vocabulary: Vocabulary
    train: Rows
    test: Rows

    @property
    def positions(self) -> int:
        """Tokens of the longest row."""
        return max(self.train.ids.shape[1], self.test.ids.shape[1])


def read(folder: Path, supervise: Supervise = "answer", *, train: bool = True) -> Data:
    """A data folder. With `train` off the training rows stay on disk, and `Data.train` is empty.

    Raises:
        UsageError: it is no data folder; says which file is missing.
        DataError: a row that cannot be read; names file, row and field. A file that is not what the run wrote.
    """
    for name in ("train.json", "test.json", "vocab.json"):
        if not (folder / name).is_file():
            raise UsageError(f"{folder}: no data folder: {name} is missing; make one with `grokked-reasoning data`")
        manifest.trust(folder / name)
    vocabulary = Vocabulary.read(folder / "vocab.json")
    test = _rows(folder / "test.json", vocabulary, supervise)
    rows = _rows(folder / "train.json", vocabulary, supervise) if train else test.take(slice(0, 0))
    return Data(folder, _world(folder, vocabulary), vocabulary, rows, test)


def _world(folder: Path, vocabulary: Vocabulary) -> World:
    """world.json; of a folder that the original code made, what its vocabulary tells."""
    path = folder / "world.json"
    if path.is_file():
        manifest.trust(path)
        told = orjson.loads(path.read_bytes())
        named = {name: tuple(told.pop(name)) for name in ("trained", "id", "ood") if name in told}
        return World(told.pop("task"), **named, facts=told)
    if not any(each.startswith("<attr_") for each in vocabulary.strings):
        return World("composition")
    first = orjson.loads((folder / "test.json").read_bytes())
    if any(row.get("type") == "test_hard" for row in first):
        trained = ("id_atomic", "train_inferred_topleft", "train_inferred_cross")
        return World("complex-reasoning", trained, ood=("test_inferred_ood", "test_hard"))
    return World("comparison")


def _rows(path: Path, vocabulary: Vocabulary, supervise: Supervise) -> Rows:
    try:
        told = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise DataError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(told, list) or not told:
        raise DataError(f"{path}: expected a list of rows with input_text and target_text")
    read = [_row(row, path, i, vocabulary, supervise) for i, row in enumerate(told)]
    sizes = np.array([len(ids) for ids, _, _ in read])
    table = np.zeros((len(read), sizes.max()), dtype=np.int32)
    table[np.arange(table.shape[1]) < sizes[:, None]] = np.fromiter(
        chain.from_iterable(ids for ids, _, _ in read), np.int32, sizes.sum()
    )
    kinds = np.array([row.get("type", "") for row in told])
    return Rows(table, np.array([r[1] for r in read], np.int32), np.array([r[2] for r in read], np.int32), kinds)


def _row(row: Any, path: Path, number: int, vocabulary: Vocabulary, supervise: Supervise) -> tuple[list[int], int, int]:
    """Ids, first place asked for, and how many."""
    try:
        prompt, target = row["input_text"], row["target_text"]
        words = pieces(target)
        ids = [vocabulary.ids[each] for each in words]
    except KeyError as error:
        missing = error.args[0]
        raise DataError(_told(path, number, missing)) from None
    except TypeError:
        raise DataError(f"{path}: row {number}: expected input_text and target_text as texts, found {row!r}") from None
    start = len(pieces(prompt))
    if not target.startswith(prompt) or sum(map(len, words)) != len(target) or len(ids) == start:
        raise DataError(
            f"{path}: row {number}, field target_text: {target!r} is not input_text {prompt!r} followed by an answer"
        )
    if supervise == "answer":
        start = words.index(ANSWER, start) + 1 if ANSWER in words[start:] else start
        return ids, start, len(ids) - start - (words[-1] == END)
    return ids, start, len(ids) - start


def _told(path: Path, number: int, missing: str) -> str:
    if missing in ("input_text", "target_text"):
        return f"{path}: row {number} has no field {missing!r}"
    return f"{path}: row {number}, field target_text: {missing!r} is not in vocab.json beside it"


def batches(count: int, size: int) -> Iterator[slice]:
    """Slices of at most `size`."""
    return (slice(i, min(i + size, count)) for i in range(0, count, size))
