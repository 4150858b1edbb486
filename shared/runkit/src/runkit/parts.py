"""Work in pieces that survive a kill: one Parquet file per key, trusted only when the ledger has its hash."""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import polars as pl
import xxhash

from runkit import files, tables
from runkit.errors import DataError
from runkit.journal import Journal, intact

Key = int | str
T = TypeVar("T")


class Parts:
    """Pieces of one table, under `folder`; keys are all integers or all strings."""

    def __init__(self, folder: Path, log: Callable[[str], None]) -> None:
        self.folder = folder
        self._ledger = Journal(folder / "ledger.jsonl")
        self._written = self._load(log)

    def missing(self, work: Iterable[tuple[Key, T]], *beside: "Parts") -> Iterator[tuple[Key, T]]:
        """The pairs of (key, work) whose piece is not there: `for key, batch in parts.missing(enumerate(batches))`.

        Args:
            beside: pieces of other tables that the same work makes; where one of these is not there, it is done again.
        """
        together = (self, *beside)
        return ((key, each) for key, each in work if any(key not in parts._written for parts in together))

    def write(self, key: Key, frame: pl.DataFrame) -> None:
        """Write a piece: first the file, then its hash in the ledger, so that half a piece is never trusted.

        Whatever else is said of a piece (its metrics) is said before this: a resumed run does not come back to it.
        """
        path = self._path(key)
        tables.write(path, frame)
        self._ledger.append("part", durable=True, key=key, xxh3=files.digest(path))
        self._written.add(key)

    def collect(self) -> pl.DataFrame:
        """All pieces in key order, as one table.

        Raises:
            DataError: nothing has been written.
        """
        return pl.concat(self.pieces(), how="vertical_relaxed", rechunk=True)

    def pieces(self) -> Iterator[pl.DataFrame]:
        """The pieces in key order, read one at a time.

        Raises:
            DataError: nothing has been written.
        """
        if not self._written:
            raise DataError(f"{self.folder.name}: no rows: not one piece was written")
        return (pl.read_parquet(self._path(key)) for key in self.keys())

    def keys(self) -> list[Key]:
        """Keys written so far, in order."""
        return sorted(self._written)  # type: ignore[type-var]

    def close(self) -> None:
        self._ledger.close()

    def _load(self, log: Callable[[str], None]) -> set[Key]:
        recorded = {event["key"]: event["xxh3"] for event in intact(self._ledger.path)}
        whole = {key for key, expected in recorded.items() if self._is_whole(key, expected)}
        if damaged := sorted(map(str, set(recorded) - whole)):
            log(f"{self.folder.name}: pieces {', '.join(damaged)} are damaged or gone and are made again")
        return whole

    def _is_whole(self, key: Key, expected: str) -> bool:
        path = self._path(key)
        return path.is_file() and files.digest(path) == expected

    def _path(self, key: Key) -> Path:
        if isinstance(key, int):
            return self.folder / f"{key:010d}.parquet"
        slug = re.sub(r"[^\w.-]+", "_", key)[:40]
        return self.folder / f"{slug}-{xxhash.xxh3_64_hexdigest(key.encode())}.parquet"
