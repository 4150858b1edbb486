"""Stage `stability`: would other items, fewer of them, a smaller k or another prompt have found the same neurons?

A set is the `top` neurons of one kind of token, by the contrast that `discover` ranks them by. Two sets are compared by
their Jaccard overlap, beside what random sets of these sizes would share. Draws of items that are compared have no item
in common, so that what they share is not owed to the items.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import combinations
from math import comb
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import runkit
from jaxtyping import Int
from runkit import runs
from runkit.errors import UsageError
from runkit.progress import track
from runkit.tables import check

from cot_neurons import chains, stability_figures, tables
from cot_neurons.options import StabilityOptions
from cot_neurons.portraits import Portraits, kinds
from cot_neurons.tags import KINDS

STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
"""Numbers of items, and values of k, that are tried as far as there are so many."""
_FEWEST = 5  # items in a set
NEURON = ["layer", "neuron", "polarity"]


class Source(NamedTuple):
    """A run of `discover`: what it is called, its decoding steps, its activations, and the neurons it kept per step."""

    name: str
    steps: pl.DataFrame
    activations: Path
    layers: list[int]
    d_mlp: int
    k: int

    @classmethod
    def read(cls, text: str) -> "Source":
        """The run that `text` names.

        Raises:
            UsageError: there is none, or it is not a run's folder.
            DataError: a table of it is damaged.
        """
        folder = runs.folder(text, "neurons", "cot-neurons.discover")
        steps = runs.table(folder, "steps", tables.Steps)
        neurons = runs.table(folder, "neurons", tables.Neurons)
        activations = runs.trusted(folder, "activations")
        pieces = (check(piece, tables.Activations, "activations") for piece in chains.pieces(activations))
        k = 1 + max(_largest(piece["rank"]) for piece in pieces)
        layers = sorted(neurons["layer"].unique())
        return cls(folder.resolve().name, steps, activations, layers, _largest(neurons["neuron"]) + 1, k)

    @property
    def rows(self) -> Int[np.ndarray, " items"]:
        """The items watched."""
        return self.steps["row"].unique().sort().to_numpy()


class Choice(NamedTuple):
    """What a set of neurons depends on: the run, items of it (None: all), and how many were kept per step (None: k)."""

    name: str
    source: int
    rows: tuple[int, ...] | None = None
    k: int | None = None


class Pair(NamedTuple):
    """Two choices to compare, along one axis; `amount` is the number of items, or the smaller k."""

    axis: str
    amount: int | None
    one: Choice
    other: Choice


class Sets(NamedTuple):
    """The neurons found for each kind of token that occurred, and all that were kept at all, as numbers."""

    found: dict[str, Int[np.ndarray, " top"]]
    candidates: Int[np.ndarray, " n"]


def stability(options: StabilityOptions) -> Path:
    """Run the stage: table `overlaps`, figure `stability`, mean overlaps as metrics. Returns its folder."""
    with runkit.stage("cot-neurons.stability", options) as run:
        if run.finished:
            return run.folder
        sources = _sources(options)
        pairs = list(_pairs(sources, options))
        compare = Comparison(sources, options.top)
        parts = run.parts("overlaps")
        for key, pair in track(parts.missing(enumerate(pairs)), "comparisons", len(pairs)):
            parts.write(key, compare(pair))
        overlaps = parts.collect()
        run.table("overlaps", overlaps, tables.Overlaps)
        run.figure("stability", stability_figures.stability(overlaps))
        _tell(run, overlaps)
        return run.folder


class Comparison:
    """Compares pairs of choices; a set that several pairs share is found once."""

    def __init__(self, sources: list[Source], top: int) -> None:
        self._sources, self._top = sources, top
        self._sets = lru_cache(maxsize=len(sources) + 1)(self._find)

    def __call__(self, pair: Pair) -> pl.DataFrame:
        """One row per kind of token."""
        one, other = self._sets(*pair.one[1:]), self._sets(*pair.other[1:])
        candidates = len(np.union1d(one.candidates, other.candidates))
        records = [
            (pair.axis, kind, pair.amount, pair.one.name, pair.other.name, *_overlap(one, other, kind, candidates))
            for kind in KINDS
            if kind in one.found or kind in other.found
        ]
        return pl.DataFrame(records, tables.columns(tables.Overlaps), orient="row")

    def _find(self, number: int, rows: tuple[int, ...] | None, k: int | None) -> Sets:
        source = self._sources[number]
        chosen = pl.col("row").is_in(source.rows if rows is None else rows)
        steps = source.steps.filter(chosen)
        sums = Portraits(source.layers, source.d_mlp, steps)
        for piece in chains.pieces(source.activations):
            kept = piece.filter(chosen, pl.col("rank") < (k or source.k))
            sums.add(kept)
        neurons = sums.table(source.name).sort("contrast", *NEURON, descending=[True, False, False, False])
        there = [KINDS[kind] for kind in kinds(steps)["kind"].unique(maintain_order=True)]
        found = {kind: _numbers(neurons.filter(pl.col("focus") == kind).head(self._top)) for kind in there}
        return Sets(found, _numbers(neurons))


def _sources(options: StabilityOptions) -> list[Source]:
    sources = [Source.read(text) for text in options.neurons]
    names = [source.name for source in sources]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"--neurons names {twice[0]} twice: compare different runs")
    if len(sources[0].rows) < 2:
        raise UsageError(f"--neurons {options.neurons[0]} watched one item: comparing draws takes two at least")
    return sources


def _pairs(sources: list[Source], options: StabilityOptions) -> Iterator[Pair]:
    """What is compared: draws of the first run's items, its values of k, and all runs with each other."""
    rows, k = sources[0].rows, sources[0].k
    half = len(rows) // 2
    for axis, size in [*(("items", n) for n in STEPS if _FEWEST <= n < half), ("seed", half)]:
        for draw in range(options.repeats):
            order = np.random.default_rng((options.seed, draw)).permutation(rows).tolist()
            halves = {"a": order[:size], "b": order[size : 2 * size]}
            one, other = (Choice(f"{size} items, draw {draw}{side}", 0, tuple(part)) for side, part in halves.items())
            yield Pair(axis, size, one, other)
    for fewer in [n for n in STEPS if n < k]:
        yield Pair("k", fewer, Choice(f"k {fewer}", 0, k=fewer), Choice(f"k {k}", 0))
    for (i, one), (j, other) in combinations(enumerate(sources), 2):
        yield Pair("prompt", None, Choice(one.name, i), Choice(other.name, j))


def _largest(numbers: pl.Series) -> int:
    return int(numbers.to_numpy().max())


def _numbers(neurons: pl.DataFrame) -> Int[np.ndarray, " n"]:
    """One number per neuron and sign, the same in every run."""
    layer, neuron = neurons["layer"].to_numpy(), neurons["neuron"].to_numpy()
    return (layer << 33) | (neuron << 1) | (neurons["polarity"] == "-").to_numpy()


def _overlap(one: Sets, other: Sets, kind: str, candidates: int) -> tuple[int, int, int, float | None, float | None]:
    """Both sizes, the number shared, the overlap, and that of random sets; None where neither found any."""
    nothing = np.zeros(0, dtype=np.int64)
    a, b = one.found.get(kind, nothing), other.found.get(kind, nothing)
    shared = len(np.intersect1d(a, b))
    together = len(a) + len(b) - shared
    return len(a), len(b), shared, shared / together if together else None, chance(len(a), len(b), candidates)


def chance(one: int, other: int, candidates: int) -> float | None:
    """Expected Jaccard overlap of two random sets of these sizes: their shared part is hypergeometric.

    None where both are empty.
    """
    if one + other == 0:
        return None
    shared = range(max(0, one + other - candidates), min(one, other) + 1)
    ways = {s: comb(one, s) * comb(candidates - one, other - s) for s in shared}
    return sum(count / comb(candidates, other) * s / (one + other - s) for s, count in ways.items())


def _tell(run: runkit.StageRun, overlaps: pl.DataFrame) -> None:
    """The mean overlap along each axis as metrics; that of the two halves, for each kind, at the terminal."""
    for axis, jaccard, at_random in overlaps.group_by("axis").agg(pl.col("jaccard", "chance").mean()).iter_rows():
        if jaccard is not None:
            run.metrics({f"{axis}_jaccard": jaccard, f"{axis}_chance": at_random})
    halves = stability_figures.means(overlaps.filter(axis="seed").drop_nulls("jaccard"))
    told = {row["kind"]: f"{row['mean']:.2f}  ({row['chance']:.3f})" for row in halves.iter_rows(named=True)}
    run.summary({"kind": "overlap of the neurons that two halves of the items give (by chance)"} | told)
