"""What may become sequences: every source's tokens, and one row per candidate."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
import xxhash
from jaxtyping import Int
from runkit.errors import UsageError
from runkit.progress import track

from expgen.corpus import layouts, mixing
from expgen.corpus.sequences import Sequence, sequence
from expgen.corpus.tokens import Special, Tokens
from expgen.options import ExemplarsOptions
from expgen.tables import SPLITS


class Draft:
    """Sources are added one after the other. `documents`: how many there are so far, of all sources."""

    def __init__(self, options: ExemplarsOptions, special: Special) -> None:
        self._options, self._special = options, special
        self._tokens: list[Tokens] = []
        self._rows: list[pl.DataFrame] = []
        self._read: list[pl.DataFrame] = []
        self._used: list[pl.DataFrame] = []
        self._longest = 0
        self._sources = 0
        self.documents = 0

    def add(self, tokens: Tokens) -> None:
        """A source's documents: each into a split, and cut into candidates."""
        options, count = self._options, len(tokens.texts)
        split = mixing.splits(count, options.shares, [options.seed, self._sources])
        if options.layout == "packed":
            for at in np.unique(split):
                whole = layouts.joined(tokens, np.flatnonzero(split == at).tolist(), self._special)
                self._cut(whole, np.array([at]))
        else:
            self._cut(tokens, split)
        counts = np.bincount(split, minlength=len(SPLITS))
        read = {"source": self._sources, "split": np.arange(len(SPLITS)), "documents": counts}
        self._read.append(pl.DataFrame(read))
        self._sources += 1
        self.documents += count

    def candidates(self) -> pl.DataFrame:
        """One row per candidate, in the order of the data: source, split, document, tokens, and whether it is `blank`
        (no token may be a peak) or `repeated` (the same ids as an earlier one).

        Raises:
            UsageError: there is none, because all documents are too short.
        """
        rows = pl.concat(self._rows)
        if rows.is_empty():
            raise UsageError(
                f"--seq-len {self._options.seq_len} with --layout {self._options.layout}: the longest of "
                f"{self.documents} documents has {self._longest} tokens; lower --seq-len, or choose another --layout"
            )
        return rows.with_columns(repeated=~pl.col("blank") & ~pl.struct("blank", "digest").is_first_distinct())

    def read(self) -> pl.DataFrame:
        """Per source and split: documents, and how many of them are too short to have a token in any candidate."""
        used = pl.concat(self._used).group_by("source", "split").agg(pl.len().alias("used"))
        read = pl.concat(self._read).join(used, on=["source", "split"], how="left").fill_null(0)
        return read.with_columns(too_short=pl.col("documents") - pl.col("used")).drop("used")

    def sequence(self, row: Mapping[str, Any]) -> Sequence:
        """The sequence that a row of `candidates` stands for."""
        tokens, sinks = self._tokens[row["tokens_of"]], "sinks" in self._options.count
        return sequence(tokens, row["text"], row["start"], row["end"], self._special, sinks=sinks)

    def _cut(self, tokens: Tokens, split: Int[np.ndarray, " texts"]) -> None:
        front = len(self._special.prefix) * tokens.lead
        layout = layouts.documents if self._options.layout == "documents" else layouts.windows
        cut = layout(tokens, self._options.seq_len - front)
        rows = cut.with_columns(
            source=pl.lit(self._sources), split=split[cut["text"].to_numpy()], tokens_of=pl.lit(len(self._tokens)),
            document=tokens.documents[cut["start"].to_numpy()],
            tokens=(cut["end"] - cut["start"]).to_numpy() + front[cut["text"].to_numpy()],
        )  # fmt: skip
        self._tokens.append(tokens)
        self._longest = max(self._longest, int((np.diff(tokens.first) + front).max()))
        self._rows.append(rows.with_columns(self._seen(rows)))
        self._used.append(_used(tokens, rows, split).with_columns(source=pl.lit(self._sources)))

    def _seen(self, rows: pl.DataFrame) -> list[pl.Series]:
        """What is to be known of each candidate before any is taken."""
        blank, digest = np.zeros(len(rows), bool), list[bytes]()
        for at, row in enumerate(track(rows.iter_rows(named=True), "sequences", len(rows))):
            made = self.sequence(row)
            blank[at] = not made.valid.any()
            digest.append(xxhash.xxh3_128_digest(made.ids.tobytes()))
        return [pl.Series("blank", blank), pl.Series("digest", digest, pl.Binary)]


def _used(tokens: Tokens, rows: pl.DataFrame, split: Int[np.ndarray, " texts"]) -> pl.DataFrame:
    """The documents (and their split) that have a token in a candidate."""
    change = np.zeros(len(tokens.ids) + 1, np.int8)
    np.add.at(change, rows["start"].to_numpy(), 1)
    np.add.at(change, rows["end"].to_numpy(), -1)
    within = np.cumsum(change, dtype=np.int8)[:-1] > 0
    of_token = np.repeat(split.astype(np.int8), np.diff(tokens.first))
    used = pl.DataFrame({"document": tokens.documents[within], "split": of_token[within]}).unique()
    return used.cast({"split": pl.Int64})
