"""The atomic facts of a data folder, as ids, and which of them are in distribution."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from jaxtyping import Bool, Int
from runkit import tables as checked
from runkit.errors import DataError, UsageError

from grokked_reasoning import tables
from grokked_reasoning.dataset import Data, Rows

FILE = "facts.parquet"


@dataclass(frozen=True, eq=False)
class Facts:
    """Facts (head, relation, tail) as ids of a vocabulary of `size` strings; id: inferences may be in training."""

    head: Int[np.ndarray, " F"]
    relation: Int[np.ndarray, " F"]
    tail: Int[np.ndarray, " F"]
    id: Bool[np.ndarray, " F"]
    size: int

    @cached_property
    def all(self) -> Int[np.ndarray, "V V"]:
        """The tail of every head and relation; -1 where there is no such fact."""
        return self._table(np.ones_like(self.id))

    def side(self, *, ood: bool) -> Int[np.ndarray, "V V"]:
        """As `all`, of ID facts alone or of OOD facts alone."""
        return self._table(self.id != ood)

    def _table(self, kept: Bool[np.ndarray, " F"]) -> Int[np.ndarray, "V V"]:
        table = np.full((self.size, self.size), -1, dtype=np.int32)
        table[self.head[kept], self.relation[kept]] = self.tail[kept]
        return table


def read(data: Data) -> Facts:
    """The facts of facts.parquet; of a folder that the original code made, those of train.json.

    There the ID facts are those that some inferred training row uses (its own definition). `data` must then have been
    read with its training rows.

    Raises:
        UsageError: entities are written with several tokens.
        DataError: facts.parquet is damaged, or train.json has no atomic facts.
    """
    path = data.folder / FILE
    if not path.is_file():
        return _trained(data)
    frame = checked.read(path, tables.Facts)
    known, count = data.vocabulary.ids, len(data.vocabulary)
    columns = [frame[name].replace_strict(known, default=None, return_dtype=pl.Int64) for name in frame.columns[:3]]
    for name, column in zip(frame.columns, columns, strict=False):
        if column.null_count():
            raise UsageError(
                f"{path}: column {name}: {frame[name].filter(column.is_null())[0]!r} is not one token of vocab.json: "
                "entities of two tokens cannot be traced; make the data with --entity-tokens 1"
            )
    head, relation, tail = (column.to_numpy() for column in columns)
    return Facts(head, relation, tail, (frame["split"] == "id").to_numpy(), count)


def _trained(data: Data) -> Facts:
    rows = data.train
    atomic = rows.take(rows.start == 2)
    if not len(atomic):
        raise DataError(f"{data.folder / 'train.json'}: no atomic facts (a prompt of two tokens), and no {FILE}")
    head, relation, tail = (atomic.ids[:, i].astype(np.int64) for i in range(3))
    every = Facts(head, relation, tail, np.ones(len(atomic), bool), len(data.vocabulary))
    used = _used(rows, every)
    return Facts(head, relation, tail, used[head, relation], every.size)


def _used(rows: Rows, facts: Facts) -> Bool[np.ndarray, "V V"]:
    """Whether a training inference uses the fact of a head and relation: h r1 r2, or a <q> e1 <mask> e2."""
    used = np.zeros((facts.size, facts.size), dtype=bool)
    h, r1, r2 = rows.ids[rows.start == 3, :3].T
    used[h, r1] = True
    used[facts.all[h, r1], r2] = True
    a, _, e1, _, e2 = rows.ids[rows.start == 5, :5].T
    used[e1, a] = used[e2, a] = True
    return used
