"""From whatever the data come as to numbered rows of token ids, kept on disk shard by shard and laid out in batches."""

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
import xxhash
from jaxtyping import Int
from torch import Tensor

from actkit.batch import Batch, buckets, pad_rows
from actkit.errors import PromptError
from actkit.harvest.files import StoreError, check, read_tensors, write_tensors
from actkit.model import Model

_TOKENIZED_AT_ONCE = 256


class Shard(NamedTuple):
    """Consecutive rows that are worked through, written and, after a kill, redone together."""

    file: str
    hash: str
    first_row: int
    rows: int
    first_token: int
    tokens: int


class Index(NamedTuple):
    """What the data turned out to be. `digest`: xxh3-128 over all rows; `longest`: tokens of the longest row."""

    digest: str
    longest: int
    shards: tuple[Shard, ...]

    @property
    def rows(self) -> int:
        """Rows in all."""
        return sum(shard.rows for shard in self.shards)

    @property
    def tokens(self) -> int:
        """Tokens in all."""
        return sum(shard.tokens for shard in self.shards)

    @classmethod
    def of(cls, found: Any) -> "Index":
        """Back from what JSON made of it."""
        return cls(found[0], found[1], tuple(Shard(*shard) for shard in found[2]))


def read_rows(model: Model, data: Any, max_tokens: int | None) -> Iterator[list[int]]:
    """Every row's token ids, read as they are needed, cut to `max_tokens`.

    Raises PromptError, whose `rows` counts through the whole data set, for a row that is empty, out of vocabulary,
    longer than the model's context or not a row at all.
    """
    first = 0
    for _, run in groupby(_items(data), lambda item: isinstance(item, str)):
        while chunk := list(islice(run, _TOKENIZED_AT_ONCE)):
            yield from _fitting(model, _tokenized(model, chunk, first), max_tokens, first)
            first += len(chunk)


def _items(data: Any) -> Iterator[str | list[int]]:
    if isinstance(data, str | Mapping) or not isinstance(data, Iterable | Batch):
        raise PromptError(f"The data are one {type(data).__name__}, not several rows.", "Pass a list of texts or rows.")
    rows = chain.from_iterable(_rows_in(item) for item in ([data] if isinstance(data, Batch) else data))
    for number, row in enumerate(rows):
        try:
            yield row if isinstance(row, str) else [int(i) for i in row]
        except (TypeError, ValueError) as error:
            raise PromptError(
                f"Row {number} is of type {type(row).__name__}, neither a text nor token ids.",
                "Pass one column of the data, such as data['text'], token-id rows, or Batches.",
                rows=(number,),
            ) from error


def _rows_in(item: Any) -> list[Any]:
    """A Batch holds several rows; everything else is one."""
    return item.ids if isinstance(item, Batch) else [item.tolist() if hasattr(item, "tolist") else item]


def _tokenized(model: Model, chunk: list[Any], first: int) -> list[list[int]]:
    try:
        return model.tokenize(chunk)
    except PromptError as error:
        if not error.rows:
            raise
        rows = [first + row for row in error.rows]
        fault = "is empty" if "empty" in str(error) else f"has ids outside the vocabulary (0 to {model.dims.vocab - 1})"
        raise PromptError(f"Row {rows[0]} of the data {fault}.", "Leave it out, or put it right.", rows=rows) from error


def _fitting(model: Model, rows: list[list[int]], max_tokens: int | None, first: int) -> list[list[int]]:
    rows = rows if max_tokens is None else [row[:max_tokens] for row in rows]
    if long := model.too_long(rows):
        raise PromptError(
            f"Row {first + long[0]} has {len(rows[long[0]])} tokens; the model's context is {model.context}.",
            f"Cut every row with max_tokens={model.context}, or split long rows beforehand.",
            rows=[first + row for row in long],
        )
    return rows


def sharded(rows: Iterable[list[int]], shard_tokens: int) -> Iterator[list[list[int]]]:
    """Consecutive rows in groups of at most `shard_tokens` tokens (a longer row is a group of its own)."""
    group: list[list[int]] = []
    held = 0
    for row in rows:
        if group and held + len(row) > shard_tokens:
            yield group
            group, held = [], 0
        group.append(row)
        held += len(row)
    if group:
        yield group


def spool(folder: Path, rows: Iterable[list[int]], shard_tokens: int) -> Index:
    """Write the rows to `folder`, a file per shard. Raises PromptError when there are none."""
    sum_, longest = xxhash.xxh3_128(), 0
    shards: list[Shard] = []
    row = token = 0
    for number, group in enumerate(sharded(rows, shard_tokens)):
        tensors = _packed(group)
        for part in tensors.values():
            sum_.update(part.numpy().tobytes())
        name = f"tokens-{number:05}.safetensors"
        shards.append(Shard(name, write_tensors(folder / name, tensors), row, len(group), token, len(tensors["ids"])))
        row, token = row + len(group), token + len(tensors["ids"])
        longest = max(longest, int(tensors["lengths"].max()))
    if not shards:
        raise PromptError("The data set is empty: there is nothing to harvest.")
    return Index(sum_.hexdigest(), longest, tuple(shards))


def _packed(rows: list[list[int]]) -> dict[str, Tensor]:
    ids = torch.tensor(list(chain.from_iterable(rows)), dtype=torch.int32)
    return {"ids": ids, "lengths": torch.tensor([len(row) for row in rows], dtype=torch.int32)}


def confirm(folder: Path, rows: Iterable[list[int]], index: Index, shard_tokens: int) -> None:
    """Raise StoreError, naming the first row that differs, unless these are the rows the store was made of."""
    corpus = Corpus(folder, index)
    seen = 0
    for number, group in enumerate(sharded(rows, shard_tokens)):
        known = corpus.rows(number) if number < len(index.shards) else []
        if group != known:
            at = next(
                (i for i, (a, b) in enumerate(zip(group, known, strict=False)) if a != b), min(len(group), len(known))
            )
            raise _other_data(folder, seen + at, index)
        seen += len(group)
    if seen != index.rows:
        raise _other_data(folder, seen, index)


def _other_data(folder: Path, row: int, index: Index) -> StoreError:
    return StoreError(
        f"{folder} was begun with other data: row {row} is not the same (the store has {index.rows} rows).",
        "Give the same data, another folder, or resume=False to start anew.",
    )


class Corpus:
    """The rows of a store: read from its folder shard by shard."""

    def __init__(self, folder: Path, index: Index) -> None:
        self.folder = folder
        self.index = index

    def packed(self, shard: int) -> tuple[Int[Tensor, " tokens"], Int[Tensor, " rows"]]:
        """Token ids of one shard, row after row, and each row's length. Raises StoreError for a damaged file."""
        entry = self.index.shards[shard]
        tensors = read_tensors(self.folder / entry.file, entry.hash)
        return tensors["ids"], tensors["lengths"]

    def rows(self, shard: int) -> list[list[int]]:
        """Token ids of one shard, row by row."""
        ids, lengths = self.packed(shard)
        return [part.tolist() for part in ids.split(lengths.tolist())]

    @cached_property
    def starts(self) -> Int[Tensor, " rows"]:
        """Number of each row's first token, counted through all rows."""
        lengths = torch.cat([self.packed(shard)[1].long() for shard in range(len(self.index.shards))])
        return lengths.cumsum(0) - lengths

    def locate(self, tokens: Int[Tensor, "*n"]) -> dict[str, Int[Tensor, "*n"]]:
        """Row and position of tokens counted through all rows; -1 for a token -1."""
        row = torch.searchsorted(self.starts, tokens.contiguous(), right=True) - 1
        position = torch.where(tokens < 0, -1, tokens - self.starts[row.clamp(min=0)])
        return {"rows": row, "positions": position.int()}

    def verify(self) -> None:
        """Raise StoreError for the first damaged file."""
        for entry in self.index.shards:
            check(self.folder / entry.file, entry.hash)

    def batches(self, shard: int, batch_size: int, pad_id: int) -> Iterator[tuple[Batch, "Block"]]:
        """A shard's rows, short ones with short ones, always in the same order; within a batch in the data's order."""
        rows = self.rows(shard)
        lengths = torch.tensor([len(row) for row in rows])
        starts = self.index.shards[shard].first_token + lengths.cumsum(0) - lengths
        for group in buckets(lengths.tolist(), batch_size):
            chosen = sorted(group)
            batch = pad_rows([rows[i] for i in chosen], pad_id=pad_id, pad="right")
            numbers = self.index.shards[shard].first_row + torch.tensor(chosen)
            yield batch, Block(batch.attention_mask.bool(), starts[chosen], numbers)


class Block:
    """Which tokens of the data set the slots of one right-padded batch hold. `count`: its real tokens."""

    def __init__(self, mask: Tensor, starts: Int[Tensor, " B"], rows: Int[Tensor, " B"]) -> None:
        self.mask = mask
        self.starts = starts
        self.rows = rows
        self.count = int(mask.sum())
        self._moved: dict[Any, Any] = {}

    def slots(self, device: torch.device) -> Int[Tensor, " n"] | None:
        """Where the real tokens lie in the flattened batch, row by row; None when there is no padding."""
        return self.on(device, "slots", lambda: None if bool(self.mask.all()) else self.mask.flatten().nonzero()[:, 0])

    def tokens(self, device: torch.device) -> Int[Tensor, " n"]:
        """The real tokens' numbers, counted through all rows: ascending."""
        grid = self.starts[:, None] + torch.arange(self.mask.shape[1])
        return self.on(device, "tokens", lambda: grid[self.mask])

    def at(
        self, positions: tuple[int, ...] | None, rows: tuple[int, ...] | None, device: torch.device
    ) -> Int[Tensor, " m"]:
        """Which of the real tokens stand at these positions of these rows; negative ones count from a row's end."""
        return self.on(device, (positions, rows), lambda: self._at(positions, rows))

    def _at(self, positions: tuple[int, ...] | None, rows: tuple[int, ...] | None) -> Int[Tensor, " m"]:
        lengths = self.mask.sum(1)
        found = torch.arange(self.count) if positions is None else chosen(lengths, positions)
        if rows is None:
            return found
        of_row = self.rows.repeat_interleave(lengths)[found]
        return found[torch.isin(of_row, torch.tensor(rows))]

    def on(self, device: torch.device, what: Any, make: Any) -> Any:
        """Made once on the host, then moved once to each device, without waiting for it."""
        if (what, device) not in self._moved:
            made = make()
            self._moved[what, device] = made if made is None else made.to(device, non_blocking=True)
        return self._moved[what, device]


def chosen(lengths: Int[Tensor, " rows"], positions: tuple[int, ...]) -> Int[Tensor, " m"]:
    """Index, among all tokens row after row, of those at these positions; a row too short for one has none there."""
    wanted = torch.tensor(positions)
    place = torch.where(wanted < 0, lengths[:, None] + wanted, wanted)
    fits = (place >= 0) & (place < lengths[:, None])
    start = lengths.cumsum(0) - lengths
    return (start[:, None] + place)[fits].unique()
