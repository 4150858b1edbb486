"""What a harvest found, read from its folder as it is asked for."""

from collections.abc import Iterable, Iterator
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from actkit.errors import UnknownSite, nearest
from actkit.harvest.files import REBUILD, StoreError, check, read_json, read_tensors
from actkit.harvest.plan import amount
from actkit.harvest.rows import Corpus, Index
from actkit.harvest.tables import TABLES

KIND = "actkit harvest 1"
MANIFEST = "manifest.json"
RESULT = "result-{site}.safetensors"
LISTED = ("keep", "sparse")
"""Reducers whose results lie in a file per shard."""


class Asked(NamedTuple):
    """Which result is meant."""

    site: str
    reducer: str


class Store:
    """A finished harvest. Only what its manifest lists is trusted, and every file is checked as it is first read.

    `store["mlp_post.3"]`: that site's result, tensors by name, of one reducer; with several reducers
    `store["mlp_post.3", "topk"]`. Units keep the site's own shape: [heads, d_head, ...] for `attn_z`.
    `sites`, `reducers`, `manifest`, `folder`. Raises StoreError for a folder that holds no finished harvest.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / MANIFEST).is_file():
            raise StoreError(f"{self.folder} holds no finished harvest (no {MANIFEST}).", "Call harvest to make one.")
        self.manifest: dict[str, Any] = read_json(self.folder / MANIFEST)
        if self.manifest.get("kind") != KIND:
            raise StoreError(f"{self.folder / MANIFEST} is not one of a harvest.", f"Expected kind {KIND!r}.")
        self.sites: list[str] = list(self.manifest["asked"]["sites"])
        self.reducers: list[str] = list(self.manifest["asked"]["reducers"])
        self.corpus = Corpus(self.folder, Index.of(self.manifest["data"]))

    def __getitem__(self, at: str | tuple[str, str]) -> dict[str, Tensor]:
        """A result, on the CPU; of `keep` and `sparse` all shards in one. Raises UnknownSite, StoreError."""
        asked = self._asked(at)
        if asked.reducer in LISTED:
            parts = list(self.shards(at))
            return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        every = self._read(RESULT.format(site=asked.site))
        prefix = f"{asked.reducer}."
        found = {name.removeprefix(prefix): x for name, x in every.items() if name.startswith(prefix)}
        return {name: self._shaped(asked, name, x) for name, x in found.items()}

    def shards(self, at: str | tuple[str, str]) -> Iterator[dict[str, Tensor]]:
        """Entries of `keep` or `sparse` shard by shard, in the order of the data. Raises UnknownSite, StoreError."""
        asked = self._asked(at)
        if asked.reducer not in LISTED:
            raise StoreError(f"{asked.reducer} has one result for all shards.", f"Use store[{asked.site!r}].")
        for shard in range(len(self.corpus.index.shards)):
            part = self._read(f"{asked.site}.{asked.reducer}-{shard:05}.safetensors")
            yield {name: self._shaped(asked, name, x) for name, x in part.items()}

    def table(self, site: str, reducer: str | None = None) -> pl.DataFrame:
        """A result as a long table, units counted flat. Raises StoreError for `keep`, which is no table."""
        asked = self._asked(site if reducer is None else (site, reducer))
        if asked.reducer not in TABLES:
            raise StoreError("What keep kept is no table.", f"store.shards({asked.site!r}) gives the tensors.")
        return TABLES[asked.reducer](self._flat(asked), self.manifest["asked"]["reducers"][asked.reducer])

    def rows(self, numbers: Iterable[int]) -> list[list[int]]:
        """Token ids of these rows of the data. Raises StoreError for a row that is not there."""
        return [self._row(int(number)) for number in numbers]

    def exemplars(
        self,
        site: str,
        unit: int,
        *,
        tokenizer: PreTrainedTokenizerBase | None = None,
        before: int = 12,
        after: int = 4,
    ) -> pl.DataFrame:
        """The strongest tokens of one unit (counted flat) with what stands around them; from `topk`.

        Columns: pole, rank, value, row, position, token_id, before, after (token ids), and with a tokenizer `text`,
        the token between ⟦ and ⟧.
        """
        frame = self.table(site, "topk").filter(pl.col("unit") == unit, pl.col("row") >= 0).drop("unit")
        if frame.is_empty():
            raise UnknownSite(f"{site} has no unit {unit}.", f"Its units are 0 to {self.units(site) - 1}.")
        around = [self._around(row, at, before, after) for row, at in frame.select("row", "position").iter_rows()]
        columns = zip(*around, strict=True)
        names = ("before", "token_id", "after")
        frame = frame.with_columns(pl.Series(name, values) for name, values in zip(names, columns, strict=True))
        if tokenizer is None:
            return frame
        return frame.with_columns(pl.Series("text", [_marked(tokenizer, *parts) for parts in around]))

    def verify(self) -> None:
        """Read every file again. Raises StoreError naming the first damaged or missing one, with both hashes."""
        for name, expected in self.manifest["files"].items():
            check(self.folder / name, expected)
        self.corpus.verify()

    def __repr__(self) -> str:
        index, asked = self.corpus.index, self.manifest["asked"]
        size = sum((self.folder / name).stat().st_size for name in self.manifest["files"])
        lines = [
            f"Store({self.folder})",
            f"data: {index.tokens:,} tokens in {index.rows:,} rows, {len(index.shards)} shard(s)",
            f"results: {amount(size)}",
            f"model: {asked['model']['family']}, {asked['model']['dtype']}, weights {asked['model']['weights'][:8]}",
            *(f"{name}: {_settings(settings)}" for name, settings in asked["reducers"].items()),
            *(f"{kind}: {len(sites)} site(s), units {shape}" for (kind, shape), sites in self._by_kind().items()),
        ]
        return "\n  ".join(lines)

    def _by_kind(self) -> dict[tuple[str, str], list[str]]:
        kinds: dict[tuple[str, str], list[str]] = {}
        for site in self.sites:
            shape = " x ".join(map(str, self.manifest["sites"][site]["shape"]))
            kinds.setdefault((site.partition(".")[0], shape), []).append(site)
        return kinds

    def _asked(self, at: str | tuple[str, str]) -> Asked:
        site, reducer = (at, None) if isinstance(at, str) else at
        if site not in self.sites:
            raise UnknownSite(f"{site!r} was not harvested. Nearest: {nearest(site, self.sites)}.")
        if reducer is None and len(self.reducers) > 1:
            raise StoreError(f"{site} has results of {', '.join(self.reducers)}.", f"Name one: store[{site!r}, ...].")
        if reducer is not None and reducer not in self.reducers:
            raise StoreError(f"{reducer!r} is not among this store's reducers: {', '.join(self.reducers)}.")
        return Asked(site, reducer or self.reducers[0])

    def units(self, site: str) -> int:
        """How many units a site has, counted flat."""
        return prod(self.manifest["sites"][site]["shape"])

    def _flat(self, asked: Asked) -> dict[str, Tensor]:
        return {name: self._flattened(asked, name, x) for name, x in self[asked].items()}

    def _per_unit(self, asked: Asked, name: str) -> int | None:
        """Which dimension of a stored tensor counts the units, if any."""
        both = self.manifest["asked"]["reducers"][asked.reducer].get("poles") == "both"
        places = {"topk": int(both), "toprows": int(both), "keep": 1 if name == "values" else None, "sparse": None}
        return places.get(asked.reducer, None if name in ("count", "edges") else 0)

    def _shaped(self, asked: Asked, name: str, x: Tensor) -> Tensor:
        at = self._per_unit(asked, name)
        return x if at is None else x.unflatten(at, self.manifest["sites"][asked.site]["shape"])

    def _flattened(self, asked: Asked, name: str, x: Tensor) -> Tensor:
        at = self._per_unit(asked, name)
        return x if at is None else x.flatten(at, at + len(self.manifest["sites"][asked.site]["shape"]) - 1)

    def _read(self, name: str) -> dict[str, Tensor]:
        expected = self.manifest["files"].get(name)
        if expected is None:
            raise StoreError(f"The manifest of {self.folder} does not list {name}.", REBUILD)
        return read_tensors(self.folder / name, expected)

    def _row(self, number: int) -> list[int]:
        for shard, entry in enumerate(self.corpus.index.shards):
            if 0 <= number - entry.first_row < entry.rows:
                return self._shard_rows(shard)[number - entry.first_row]
        raise StoreError(f"There is no row {number}: the data have rows 0 to {self.corpus.index.rows - 1}.")

    def _shard_rows(self, shard: int) -> list[list[int]]:
        if self._last_shard is None or self._last_shard[0] != shard:
            self._last_shard = (shard, self.corpus.rows(shard))
        return self._last_shard[1]

    _last_shard: tuple[int, list[list[int]]] | None = None

    def _around(self, row: int, at: int, before: int, after: int) -> tuple[list[int], int, list[int]]:
        ids = self._row(row)
        return ids[max(0, at - before) : at], ids[at], ids[at + 1 : at + 1 + after]


def _marked(tokenizer: Any, before: list[int], token: int, after: list[int]) -> str:
    return f"{tokenizer.decode(before)}⟦{tokenizer.decode([token])}⟧{tokenizer.decode(after)}"


def _settings(settings: dict[str, Any]) -> str:
    told = (f"{k}={f'{len(v)} values' if isinstance(v, list) and len(v) > 4 else v}" for k, v in settings.items())
    return ", ".join(told) or "no settings"
