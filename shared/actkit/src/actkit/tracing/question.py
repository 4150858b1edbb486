"""What is asked of a trace, checked, and the runs every way of answering it needs."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from actkit.batch import Batch
from actkit.model import Model
from actkit.sites import Site
from actkit.tracing.cells import Line, layer_of
from actkit.tracing.grid import Grid, Into
from actkit.tracing.inputs import Column, Pairs
from actkit.tracing.metrics import Score
from actkit.tracing.restart import Seen, observe

_KEPT_BYTES = 1 << 31
"""What may be kept of base and source run at once; more rows go through in several rounds."""


class Baselines(NamedTuple):
    """The metric of each row of a trace, [R], without any patch."""

    clean: Tensor
    corrupt: Tensor


@dataclass(frozen=True, eq=False)
class Question:
    """A trace: the prompts, the sites by kind, the columns, and what is measured."""

    model: Model
    pairs: Pairs
    sites: dict[str, list[Site]]
    lines: list[Line]
    columns: list[Column]
    score: Score
    window: int
    into: Into
    batch_size: int

    @property
    def layers(self) -> list[int]:
        """Every layer any kind of site is asked for at."""
        return sorted({layer_of(site) for sites in self.sites.values() for site in sites})

    def chunks(self, most: int) -> Iterator["Chunk"]:
        """The rows in rounds of at most `most`, fewer where what must be kept of them would not fit."""
        rows = max(1, min(most, _KEPT_BYTES // self._bytes_per_row()))
        for start in range(0, len(self.pairs), rows):
            yield Chunk(self, range(start, min(start + rows, len(self.pairs))))

    def _bytes_per_row(self) -> int:
        dims, width = self.model.dims, self.pairs.clean.input_ids.shape[1]
        stream = dims.d_model + 2 * dims.kv_heads * dims.d_head
        traced = sum(dims.d_mlp if kind == "mlp_post" else dims.heads * dims.d_head for kind in self.sites)
        return width * dims.layers * (stream + traced) * self.model.hf.dtype.itemsize

    def empty(self, rows: int) -> Float[Tensor, "r K L P"]:
        """A grid's values for some rows, none computed."""
        shape = (rows, len(self.lines), len(self.layers), len(self.columns))
        return torch.full(shape, torch.nan, dtype=torch.float64)

    def grid(self, parts: Sequence[Tensor], baselines: Sequence[Baselines], *, estimate: bool = False) -> Grid:
        """The chunks' values and baselines as one result. Warns where corruption changes nothing."""
        clean, corrupt = (torch.cat(column).double().cpu() for column in zip(*baselines, strict=True))
        if torch.allclose(clean, corrupt, rtol=1e-6, atol=1e-9):
            warnings.warn(
                f"{self.score.name} is {float(clean.mean()):.4g} both clean and corrupt: there is nothing to trace.",
                stacklevel=4,
            )
        return Grid(
            per_row=torch.cat(list(parts)),
            clean_rows=clean,
            corrupt_rows=corrupt,
            sites=tuple(line.name for line in self.lines),
            layers=tuple(self.layers),
            positions=tuple(column.label for column in self.columns),
            tokens=tuple(column.token for column in self.columns),
            metric=self.score.name,
            into=self.into,
            window=self.window,
            estimate=estimate,
        )


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some rows of a question, small enough to keep their runs."""

    question: Question
    rows: range

    @property
    def samples(self) -> int:
        return self.question.pairs.samples

    @cached_property
    def pair_of(self) -> list[int]:
        """Each row's pair."""
        return [row // self.samples for row in self.rows]

    @cached_property
    def _pairs(self) -> list[int]:
        return sorted(set(self.pair_of))

    @cached_property
    def base_of(self) -> list[int]:
        """Each row's place in the base run: corrupt runs have one row per sample, clean ones one per pair."""
        return list(range(len(self.rows))) if self.question.into == "corrupt" else self._clean_of

    @cached_property
    def source_of(self) -> list[int]:
        """Each row's place in the source run."""
        return self._clean_of if self.question.into == "corrupt" else list(range(len(self.rows)))

    @cached_property
    def _clean_of(self) -> list[int]:
        return [pair - self._pairs[0] for pair in self.pair_of]

    def clean(self, sites: Sequence[Site], **options: Any) -> Seen:
        """The clean run of these rows' pairs."""
        return observe(self.question.model, _chosen(self.question.pairs.clean, self._pairs), sites, **options)

    def corrupt(self, sites: Sequence[Site], **options: Any) -> Seen:
        """The corrupt run of these rows."""
        model, pairs = self.question.model, self.question.pairs
        embed: Any = model.sites["embed"].module
        noise = pairs.noise(self.rows, embed.embedding_dim).to(model.device) if pairs.spans else None
        return observe(model, _chosen(pairs.corrupt, self.pair_of), sites, noise, **options)

    def baselines(self, clean: Seen, corrupt: Seen) -> Baselines:
        """The metric of both runs, each [rows]."""
        score, pairs = self.question.score, torch.tensor(self.pair_of, device=clean.logits.device)
        score.compare_with(clean.logits, self._pairs[0])
        score.refuse_mixing(torch.cat([clean.logits, corrupt.logits.to(clean.logits)]))
        return Baselines(
            score(clean.logits[torch.tensor(self._clean_of, device=clean.logits.device)], pairs),
            score(corrupt.logits, pairs),
        )


def _chosen(batch: Batch, rows: list[int]) -> Batch:
    return Batch(batch.input_ids[rows], batch.attention_mask[rows])
