"""Labels held against chains that `discover` has not seen: does a neuron fire when a token of its concept is written?

A neuron's firing at a step is polarity·m·‖v‖ where the step's token was chosen (one position before it). The area under
the ROC curve is the chance that it is higher at a step that writes a token of the concept than at another step, equal
ones counting half; its interval comes from a bootstrap over items. The same where the token is read, for comparison.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import actkit
import numpy as np
import polars as pl
import runkit
import torch
from jaxtyping import Bool, Float, Int
from runkit import manifest, refs
from runkit.progress import track
from torch import Tensor

from cot_neurons import chains, sources, statistics
from cot_neurons.finished import Chains, finished
from cot_neurons.options import NEURONS, LabelOptions
from cot_neurons.subject import Subject

POLE = ("layer", "neuron", "polarity")
_FEWEST = 5  # items that write a token of the concept: drawing from fewer says little of how items vary


def held_out(options: LabelOptions, subject: Subject, run: runkit.StageRun) -> pl.DataFrame:
    """Answered items that `discover` did not watch, at most `--limit`; none where it watched them all.

    Items are told apart by their row in the data. What could not be held out is said.
    """
    items = sources.items(options.items, subject)
    watched = _watched(refs.resolve(options.neurons, **NEURONS))
    if watched is None:
        run.log(
            f"--neurons {options.neurons}: no table `steps` beside it tells what it watched; items may be among them"
        )
        return chains.draw(items, options.limit, options.seed).sort("row")
    rest = items.filter(~pl.col("row").is_in(watched.implode()))
    if rest.is_empty():
        run.log(
            f"discover watched all {len(items)} items of --items {options.items}: none is held out, so the labels stay "
            "untested; give --items more items, or discover a smaller --limit"
        )
    return chains.draw(rest, options.limit, options.seed).sort("row")


def _watched(neurons: Path) -> pl.Series | None:
    """Rows of the items that `discover` watched. Raises DataError where its table of them is damaged."""
    steps = neurons.with_name("steps.parquet")
    if not steps.is_file():
        return None
    manifest.trust(steps)
    return pl.read_parquet(steps, columns=["row"])["row"].unique().cast(pl.Int64)


class Firing:
    """Measures how labelled neurons fire along finished chains, a batch at a time.

    Memory: one layer's activations of a batch, and the labelled neurons' columns.
    """

    def __init__(self, subject: Subject, neurons: pl.DataFrame) -> None:
        self._model = subject.model
        self._count = len(neurons)
        self._columns: dict[str, tuple[list[int], Int[Tensor, " n"], Float[Tensor, " n"]]] = {}
        for (layer,), rows in neurons.with_row_index("at").group_by("layer", maintain_order=True):
            units = torch.tensor(rows["neuron"].to_list())
            sign = torch.tensor([1.0 if each == "+" else -1.0 for each in rows["polarity"]])
            norms = subject.value_norms([int(layer)])[0].cpu()  # pyright: ignore[reportArgumentType]
            self._columns[f"mlp_post.{layer}"] = (rows["at"].to_list(), units, sign * norms[units])

    def __call__(self, batch: Chains) -> pl.DataFrame:
        """The batch's steps (row, step, token_id), with each neuron's firing where they were `written` and `read`."""
        kept: dict[str, tuple[Tensor, Tensor]] = {}

        def keep(site: str, m: Float[Tensor, "B T N"]) -> None:
            _, units, scale = self._columns[site]
            firing = m[..., units.to(m.device)].float() * scale.to(m.device)
            kept[site] = (batch.written(firing), batch.read(firing))

        self._model.run(batch.batch, capture=list(self._columns), logits=None, on_capture=keep)
        values = np.empty((2, len(batch.steps), self._count), dtype=np.float32)
        for site, both in kept.items():
            values[:, :, self._columns[site][0]] = torch.stack(both).cpu().numpy()
        steps = batch.steps.select("row", "step", "token_id")
        return steps.with_columns(pl.Series("written", values[0]), pl.Series("read", values[1]))


def measured(
    run: runkit.StageRun, subject: Subject, items: pl.DataFrame, neurons: pl.DataFrame, size: int
) -> pl.DataFrame:
    """The firing of `neurons` along the items' chains; a resumed run measures only the batches that are missing."""
    parts, firing = run.parts("firing"), Firing(subject, neurons)
    batches = finished(items, subject, size)
    room = actkit.Room(run.log)
    for key, batch in track(parts.missing(enumerate(batches)), "chains", len(batches)):
        parts.write(key, pl.concat(batch.within(room, firing)))
    return parts.collect().sort("row", "step")


class Separation(NamedTuple):
    """How well firing tells a concept's steps from the others.

    None where there are no such steps, or no others; no interval where fewer than five items have such steps.
    `specific_auroc`: against the steps of that other concept which it tells apart worst.
    """

    auroc: float | None
    auroc_low: float | None
    auroc_high: float | None
    specific_auroc: float | None
    reads_auroc: float | None
    positives: int

    @property
    def validated(self) -> bool | None:
        """Whether the interval lies above chance."""
        return None if self.auroc_low is None else self.auroc_low > 0.5


def separations(
    labels: pl.DataFrame, neurons: pl.DataFrame, firing: pl.DataFrame, tokens: Mapping[str, Sequence[int]], seed: int
) -> list[Separation]:
    """One for each row of `labels`; the columns of `firing` are `neurons`."""
    written, read = firing["written"].to_numpy(), firing["read"].to_numpy()
    items = np.unique(firing["row"].to_numpy(), return_inverse=True)[1]
    ids = firing["token_id"].to_numpy()
    places = labels.join(neurons.with_row_index("at"), on=POLE, how="left", maintain_order="left")["at"]
    known: dict[tuple[int, str], Separation] = {}
    for at, concept in zip(places, labels["concept"], strict=True):
        if (at, concept) not in known:
            positive = np.isin(ids, tokens.get(concept, []))
            others = [np.isin(ids, tokens[name]) & ~positive for name in tokens if name != concept]
            known[at, concept] = _separation(written[:, at], read[:, at], positive, others, items, seed)
    return [known[key] for key in zip(places, labels["concept"], strict=True)]


def _separation(
    written: Float[np.ndarray, " S"],
    read: Float[np.ndarray, " S"],
    positive: Bool[np.ndarray, " S"],
    others: Sequence[Bool[np.ndarray, " S"]],
    items: Int[np.ndarray, " S"],
    seed: int,
) -> Separation:
    table = wins(written, positive, items)
    enough = np.count_nonzero(table[:, -2]) >= _FEWEST
    low, high = statistics.interval(table, auroc, seed) if enough else (None, None)
    return Separation(
        statistics.number(table, auroc),
        low,
        high,
        _least_apart(written[positive], [written[other] for other in others]),
        statistics.number(wins(read, positive, items), auroc),
        int(positive.sum()),
    )


def _least_apart(ours: Float[np.ndarray, " n"], others: Sequence[Float[np.ndarray, " m"]]) -> float | None:
    """The chance that one of ours is above one of theirs, for those others where it is least."""
    return min(
        (float(_beaten(ours, each).mean() / len(each)) for each in others if len(each) and len(ours)), default=None
    )


def _beaten(high: Float[np.ndarray, " n"], low: Float[np.ndarray, " m"]) -> Float[np.ndarray, " n"]:
    """How many of `low` each of `high` is above, equal ones counting half."""
    low = np.sort(low)
    return (np.searchsorted(low, high, "left") + np.searchsorted(low, high, "right")) / 2


def wins(
    scores: Float[np.ndarray, " S"], positive: Bool[np.ndarray, " S"], items: Int[np.ndarray, " S"]
) -> Float[np.ndarray, "items items_and_2"]:
    """At [i, j], how often a positive step of item i scores above a negative one of item j, ties counting half.

    The last two columns: each item's positive and negative steps. Steps are sorted by item, items count from 0.
    """
    count = items.max() + 1
    table = np.zeros((count, count + 2))
    table[:, -2] = np.bincount(items[positive], minlength=count)
    table[:, -1] = np.bincount(items[~positive], minlength=count)
    negatives = np.split(scores[~positive], table[:, -1].cumsum().astype(int)[:-1])
    for j, each in enumerate(negatives):
        table[:, j] = np.bincount(items[positive], _beaten(scores[positive], each), minlength=count)
    return table


def auroc(table: Float[np.ndarray, "n n_and_2"], weights: Float[np.ndarray, "draws n"]) -> Float[np.ndarray, " draws"]:
    """Area under the ROC curve of `wins`, each item counting as often as its weight says; NaN where undefined."""
    won = ((weights @ table[:, :-2]) * weights).sum(axis=1)
    pairs = (weights @ table[:, -2]) * (weights @ table[:, -1])
    return np.divide(won, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)


def tested(labels: pl.DataFrame, found: Sequence[Separation]) -> pl.DataFrame:
    """The labels with what was measured of them."""
    columns = {name: [each[i] for each in found] for i, name in enumerate(Separation._fields)}
    columns["validated"] = [each.validated for each in found]
    schema = labels.schema
    return labels.with_columns(pl.Series(name, values, schema[name]) for name, values in columns.items())


def untested(labels: pl.DataFrame) -> pl.DataFrame:
    """The labels where nothing could be measured."""
    return tested(labels, [Separation(None, None, None, None, None, 0)] * len(labels))
