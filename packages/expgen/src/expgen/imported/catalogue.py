"""The sequences of a split, each once, though the original's files have a copy per neuron that likes it."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Int
from runkit.progress import track
from transformers import PreTrainedTokenizerBase

from expgen import tables
from expgen.corpus import Split
from expgen.imported.spans import spans_of

SCHEMA = {"ids": pl.Binary, "dataset": pl.Int64}
"""A sequence in parts: its ids as bytes (int32), and the number of its data set."""


class Catalogue:
    """Sequences by their ids, numbered from 0 as they first appear."""

    def __init__(self, before: Iterable[pl.DataFrame]) -> None:
        self._number: dict[bytes, int] = {}
        self._datasets: list[int] = []
        for frame in before:
            self._add(frame["ids"].to_list(), frame["dataset"].to_list())
        self._told = len(self._datasets)

    def number(
        self, ids: Int[np.ndarray, "m T"], lengths: Int[np.ndarray, " m"], datasets: Int[np.ndarray, " m"]
    ) -> Int[np.ndarray, " m"]:
        """The number of each sequence. `ids`: of which the first `lengths` are real."""
        width, data = 4 * ids.shape[1], np.ascontiguousarray(ids, np.int32).tobytes()
        rows = [data[i * width : i * width + 4 * length] for i, length in enumerate(lengths.tolist())]
        return np.array(self._add(rows, datasets.tolist()), np.int64)

    def fresh(self) -> pl.DataFrame:
        """Those that came since this was last asked."""
        ids, told = list(self._number)[self._told :], self._told
        self._told = len(self._datasets)
        return pl.DataFrame({"ids": ids, "dataset": self._datasets[told:]}, schema=SCHEMA)

    def _add(self, rows: list[bytes], datasets: list[int]) -> list[int]:
        found: list[int] = []
        for row, dataset in zip(rows, datasets, strict=True):
            number = self._number.setdefault(row, len(self._datasets))
            if number == len(self._datasets):
                self._datasets.append(dataset)
            found.append(number)
        return found


def split_of(
    rows: pl.DataFrame, split: str, tokenizer: PreTrainedTokenizerBase, names: Sequence[str], documents: int
) -> Split:
    """The sequences of a split with their texts. `rows`: as in parts, in order; `documents`: numbered from there on.

    Which document a sequence is from is not in the files: each counts as one of its own. The original leaves out
    padding alone, so every token may be a peak.
    """
    ids = [np.frombuffer(row, np.int32) for row in rows["ids"].to_list()]
    made = [spans_of(tokenizer, row.tolist()) for row in track(ids, f"texts of {split}", len(ids))]
    flat, first = _flat(ids), np.cumsum([0, *map(len, ids)])
    starts, ends = (_flat([each[part] for each in made]) for part in (1, 2))
    sources = [names[i] if 0 <= i < len(names) else f"data set {i}" for i in rows["dataset"].to_list()]
    columns = {
        "split": [split] * len(ids), "sequence": range(len(ids)), "source": sources,
        "document": range(documents, documents + len(ids)), "tokens": list(map(len, ids)),
        "text": [text for text, *_ in made],
    }  # fmt: skip
    table = pl.DataFrame(columns, schema=tables.columns(tables.Sequences))
    return Split(flat, starts, ends, np.ones(len(flat), bool), first, first[:-1], table)


def mixture(sequences: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """The table `mixture`: what there is; of what became no sequence the files say nothing, and it counts as 0."""
    counted = pl.concat(
        frame.group_by("source", "split", maintain_order=True).agg(
            documents=pl.len().cast(pl.Int64), sequences=pl.len().cast(pl.Int64), tokens=pl.col("tokens").sum()
        )
        for frame in sequences
    )
    columns = tables.columns(tables.Mixture)
    return counted.select(
        pl.col(name) if name in counted.columns else pl.lit(0, pl.Int64).alias(name) for name in columns
    )


def _flat(parts: Sequence[Any]) -> Int[np.ndarray, " tokens"]:
    return np.concatenate(parts) if parts else np.zeros(0, np.int32)
