"""From sources of documents to numbered sequences of token ids, by split."""

from typing import NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Bool, Int


class Split(NamedTuple):
    """The sequences of one split, one after the other.

    `ids`, `starts`, `ends` (characters of the sequence's text), `valid` (may be a peak): per token; `first` [rows + 1]:
    number of each sequence's first token; `documents` [documents]: number of each document's first token, ascending;
    `table`: rows of `tables.Sequences`.
    """

    ids: Int[np.ndarray, " tokens"]
    starts: Int[np.ndarray, " tokens"]
    ends: Int[np.ndarray, " tokens"]
    valid: Bool[np.ndarray, " tokens"]
    first: Int[np.ndarray, " rows1"]
    documents: Int[np.ndarray, " documents"]
    table: pl.DataFrame


class Corpus(NamedTuple):
    """All splits by name, and the table `mixture`."""

    splits: dict[str, Split]
    mixture: pl.DataFrame
