"""Stage `attribute`: what each neuron did for the tokens that were written, and where groups of items differ in it.

Direct logit attribution of all neurons of all layers; for those that count most, the increase of log-probability too
(Yu & Ananiadou 2024). Right answers against wrong ones, and answers after a chain of thought against answers without.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import actkit
import numpy as np
import polars as pl
import runkit
from runkit.errors import UsageError
from runkit.parts import Parts
from runkit.progress import track

from cot_neurons import chains, dense, tables
from cot_neurons.attributions import figures, summaries
from cot_neurons.attributions.layers import Layers, token_rows
from cot_neurons.attributions.readout import Readout
from cot_neurons.attributions.shares import Poles, Shares
from cot_neurons.attributions.summaries import Contrast, Groups, Sheet
from cot_neurons.attributions.sums import Sums, strongest
from cot_neurons.finished import Chains, finished
from cot_neurons.options import AttributeOptions
from cot_neurons.subject import Subject
from cot_neurons.tags import KINDS
from cot_neurons.variants import variants

_PIECES = 16  # of the first pass, each as big as the model has neurons
_ALL = "all"


def attribute(options: AttributeOptions) -> Path:
    """Run the stage: tables `attributions`, `contrasts`; figures `attribution`, `contrasts`. Returns its folder."""
    with runkit.stage("cot-neurons.attribute", options) as run:
        if run.finished:
            return run.folder
        subject = Subject.load(options)
        layers = dense.layers(subject, "attribute")
        compared = _chosen(options, subject, run)
        work = _work(compared, subject, options.batch_size)
        passes = Passes(subject, layers, work, actkit.Room(run.log))
        found = passes.first(run.parts("sums"), options.top)
        poles = Poles.of(found)
        shares = passes.second(run.parts("items"), poles)
        _conclude(run, subject, poles, compared, shares, options.seed)
        return run.folder


@dataclass(frozen=True)
class Batch:
    """A batch of chains of one of the runs, and the group of each of its items."""

    run: int
    chains: Chains
    groups: Mapping[int, str]

    @property
    def cells(self) -> list[str]:
        """What each step counts for."""
        return [f"{self.groups[row]}/{kind}" for row, kind in self.chains.steps.select("row", "kind").iter_rows()]


class Passes:
    """The two passes over all batches, in pieces."""

    def __init__(self, subject: Subject, layers: list[int], work: list[Batch], room: actkit.Room) -> None:
        self._model, self._layers, self._work, self._room = subject.model, layers, work, room
        self._readout = Readout(subject.model)
        self._rows = token_rows(self._readout, [batch.chains for batch in work])

    def first(self, parts: Parts, top: int) -> pl.DataFrame:
        """Which neurons count most: see `sums.strongest`."""
        size = -(-len(self._work) // _PIECES)
        pieces = [self._work[start : start + size] for start in range(0, len(self._work), size)]
        show = Layers(self._model, self._readout, self._layers)
        for key, batches in track(parts.missing(enumerate(pieces)), "all neurons", len(pieces)):
            parts.write(key, self._summed(batches, show))
        steps = pl.Series("cell", [cell for batch in self._work for cell in batch.cells])
        found = strongest(parts.pieces(), steps, self._layers, self._model.dims.d_mlp, top)
        if found.is_empty():
            raise UsageError("no neuron of this model wrote anything towards any token of these chains")
        return found

    def _summed(self, batches: list[Batch], show: Layers) -> pl.DataFrame:
        sums = Sums(self._layers, self._model.dims.d_mlp)
        for batch in batches:
            for part in batch.chains.within(self._room, partial(self._sums_of, batch, show=show)):
                sums.merge(part)
        return sums.table()

    def _sums_of(self, batch: Batch, chains: Chains, show: Layers) -> Sums:
        sums, cells = Sums(self._layers, self._model.dims.d_mlp), replace(batch, chains=chains).cells
        show(chains, self._rows(chains), partial(sums.add, values=self._model.value_vectors, cells=cells))
        return sums

    def second(self, parts: Parts, poles: Poles) -> pl.DataFrame:
        """What the poles did, item by item: `Shares.table`, with the number of the run."""
        show = Layers(self._model, self._readout, poles.layers)
        for key, batch in track(parts.missing(enumerate(self._work)), "strongest neurons", len(self._work)):
            found = batch.chains.within(self._room, partial(self._shares_of, poles, show=show))
            parts.write(key, pl.concat(found).with_columns(run=pl.lit(batch.run)))
        return parts.collect()

    def _shares_of(self, poles: Poles, chains: Chains, show: Layers) -> pl.DataFrame:
        shares = Shares(self._model, self._readout, poles, chains)
        show(chains, self._rows(chains), shares.add)
        return shares.table()


def _chosen(options: AttributeOptions, subject: Subject, run: runkit.StageRun) -> dict[str, pl.DataFrame]:
    """The items of each run: a seeded draw, the same rows of both, half of them right as far as there are."""
    named = [("items", options.items), *([("against", options.against)] if options.against else [])]
    compared = variants(named, subject, run.log)
    rows = chains.balanced(next(iter(compared.values())), options.limit, options.seed).select("row")
    return {name: items.join(rows, on="row", how="semi") for name, items in compared.items()}


def _work(compared: Mapping[str, pl.DataFrame], subject: Subject, batch_size: int) -> list[Batch]:
    found: list[Batch] = []
    for i, items in enumerate(compared.values()):
        right = dict(items.select("row", "correct_strict").iter_rows())
        groups = {row: "against" if i else "right" if is_right else "wrong" for row, is_right in right.items()}
        found += [Batch(i, each, groups) for each in finished(items, subject, batch_size)]
    return found


def _conclude(
    run: runkit.StageRun, subject: Subject, poles: Poles, compared: Mapping[str, pl.DataFrame],
    shares: pl.DataFrame, seed: int,
) -> None:  # fmt: skip
    groups = _groups(poles, compared, shares)
    attributions = summaries.attributions(subject.name, poles, groups, seed)
    contrasts = summaries.contrasts(subject.name, poles, groups, _asked(list(compared)), seed)
    run.table("attributions", attributions, tables.Attributions)
    run.table("contrasts", contrasts, tables.Contrasts)
    promoted = figures.promoted(subject.model, poles.table)
    run.figure("attribution", figures.by_kind(attributions, promoted))
    measured = contrasts.drop_nulls("low")
    if len(measured):
        run.figure("contrasts", figures.contrasts(measured, promoted))
    else:
        run.log(f"no figure of contrasts: no two groups have {summaries.FEWEST} items each to hold against each other")
    counts = {f"items_{group}": int(items.sum()) for group, (_, items) in groups.items() if group != _ALL}
    run.metrics(counts | {"neurons": len(poles.table), "steps": int(shares.filter(place=0)["steps"].sum())})
    run.summary(counts | figures.told(attributions, promoted))


def _groups(poles: Poles, compared: Mapping[str, pl.DataFrame], shares: pl.DataFrame) -> Groups:
    """Right and wrong items, all items, and those of the run held against them."""
    runs = list(compared.values())
    rows, right = runs[0]["row"].to_list(), runs[0]["correct_strict"].to_numpy()
    sheets = [Sheet.of(shares.filter(run=i), rows, poles) for i in range(len(runs))]
    every = np.ones(len(rows), dtype=bool)
    groups = {"right": (sheets[0], right), "wrong": (sheets[0], ~right), _ALL: (sheets[0], every)}
    return groups | ({"against": (sheets[1], every)} if len(runs) > 1 else {})


def _asked(names: list[str]) -> list[Contrast]:
    right = Contrast("right - wrong", "right", "wrong", KINDS)
    return [right, *(Contrast(f"{names[0]} - {other}", _ALL, "against", ("answer",)) for other in names[1:])]
