"""Stage `verify`: stored exemplars through the model again, each held against what was stored of it."""

from pathlib import Path
from typing import Any

import actkit
import numpy as np
import polars as pl
import runkit
import torch
from actkit import window_start
from jaxtyping import Bool, Float, Int
from runkit import runs
from runkit.errors import DataError, UsageError
from runkit.progress import track
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from expgen import tables
from expgen.options import VerifyOptions
from expgen.sources.features import open_sources
from expgen.store import SIGNS, Exemplars, Feature
from expgen.subject import described


def verify(options: VerifyOptions) -> Path:
    """Run the stage: table `differences`, metric `largest_difference`. Returns its folder.

    A difference is the largest over an exemplar's window, at the stored peak, and between the stored peak and the one
    found; where the stored peak is beyond ±1, as a share of it.

    Raises:
        UsageError: the exemplars are of another model, revision or weights, or of features that are not to be had.
        DataError: an exemplar differs by more than the tolerance. The run is finished all the same: its table tells.
    """
    with runkit.stage("expgen.verify", options) as run:
        if not run.finished:
            _verify(run, options)
    found = runs.table(run.folder, "differences", tables.Differences)
    if len(found.filter(pl.col("difference") > options.tolerance)):
        raise DataError(_told(found, options))
    return run.folder


def _verify(run: runkit.StageRun, options: VerifyOptions) -> None:
    exemplars = Exemplars.open(options.exemplars)
    model = described(options, exemplars.about, options.dtype)
    asked = _drawn(exemplars, options)
    again = _Again(exemplars, model, asked)
    sequences = asked.select("split", "sequence").unique(maintain_order=True)
    batches = actkit.buckets([len(exemplars.sequence(*key).ids) for key in sequences.rows()], options.batch_size)
    parts, room = run.parts("differences"), actkit.Room(run.log)
    for key, group in track(parts.missing(enumerate(batches)), "batches", len(batches)):
        parts.write(key, pl.concat(room(group, lambda some: again(sequences[some]))))
    found = parts.collect().sort("source", "layer", "neuron", "polarity", "split", "rank")
    run.table("differences", found, tables.Differences)
    largest = float(found["difference"].to_numpy().max())
    run.metrics({"exemplars": len(found), "sequences": len(sequences), "largest_difference": largest})
    run.summary({"exemplars": f"{len(found):,}, in {len(sequences):,} sequences", "result": _told(found, options)})


def _told(found: pl.DataFrame, options: VerifyOptions) -> str:
    """What came out, and where it is worst."""
    worst = found.sort("difference", descending=True, maintain_order=True).row(0, named=True)
    over = len(found.filter(pl.col("difference") > options.tolerance))
    if not over:
        return f"all as stored: they differ by {worst['difference']:.1e} at most (--tolerance {options.tolerance:g})"
    name = Feature(*(worst[key] for key in Feature._fields))
    return (
        f"{over:,} of {len(found):,} exemplars differ by more than --tolerance {options.tolerance:g}, most of all "
        f"{name}, {worst['split']}, rank {worst['rank']}, sequence {worst['sequence']}: its peak was stored as "
        f"{worst['stored']:.6g} and is {worst['found']:.6g}, the largest difference is {worst['difference']:.2e}"
    )


def _drawn(exemplars: Exemplars, options: VerifyOptions) -> pl.DataFrame:
    """One row per exemplar of the features drawn: the columns of `tables.Differences` known so far, `position`, and
    `around`, the activations around the peak.
    """
    found: list[pl.DataFrame] = []
    for number, name in enumerate(exemplars.names()):
        source, _, layer = name.rpartition(".")
        count = exemplars.about["sources"][source]["layers"][layer]
        rng = np.random.default_rng([options.seed, number])
        chosen = np.sort(rng.choice(count, min(options.neurons, count), replace=False))
        found += [_stored(exemplars, name, split, chosen) for split in tables.SPLITS]
    asked = pl.concat(found)
    if asked.is_empty():
        raise DataError(f"{exemplars.folder} has no exemplars of the features drawn: there is nothing to verify")
    return asked


def _stored(exemplars: Exemplars, name: str, split: str, chosen: Int[np.ndarray, " n"]) -> pl.DataFrame:
    values, rows, positions, around = (x[:, torch.from_numpy(chosen)] for x in exemplars.block(name, split))
    at = pole, feature, rank = np.nonzero(rows.numpy() >= 0)
    source, _, layer = name.rpartition(".")
    known = {
        "split": split, "model": exemplars.model, "source": source, "layer": int(layer), "neuron": chosen[feature],
        "polarity": np.array(list(SIGNS))[pole], "rank": rank, "sequence": rows.numpy()[at],
        "stored": values.double().numpy()[at], "position": positions.long().numpy()[at],
        "around": around.float().numpy()[at],
    }  # fmt: skip
    columns = [pl.lit(x).alias(key) if isinstance(x, str | int) else pl.Series(key, x) for key, x in known.items()]
    return pl.select(columns)


class _Again:
    """Runs sequences through the model, and compares what is stored of them."""

    def __init__(self, exemplars: Exemplars, model: actkit.Model, asked: pl.DataFrame) -> None:
        self._exemplars, self._model, self._asked = exemplars, model, asked
        self._at = _features(exemplars, model)

    def __call__(self, sequences: pl.DataFrame) -> pl.DataFrame:
        """The rows of `tables.Differences` of these sequences (columns split, sequence)."""
        texts = [self._exemplars.sequence(*key) for key in sequences.rows()]
        batch = self._model.encode([text.ids.tolist() for text in texts], pad="right")
        asked = self._asked.join(sequences.with_row_index("row"), on=["split", "sequence"], maintain_order="left")
        parts = asked.partition_by("source", "layer", as_dict=True)
        lengths = np.array([len(text.ids) for text in texts])
        valid = pad_sequence([torch.from_numpy(text.valid) for text in texts], batch_first=True)
        found: list[pl.DataFrame] = []

        def compare(site: str, x: Tensor) -> None:
            for (source, layer), part in parts.items():
                at = self._at[f"{source}.{layer}"]
                if site == (at if isinstance(at, str) else at.site):
                    found.append(_compared(part, _activations(part, x, batch, at), valid, lengths))

        sites = {at if isinstance(at, str) else at.site for at in self._at.values()}
        self._model.run(batch, capture=sorted(sites), logits=None, on_capture=compare)
        schema: Any = tables.columns(tables.Differences)
        return pl.concat(found).select(list(schema)).cast(schema)


def _features(exemplars: Exemplars, model: actkit.Model) -> dict[str, str | actkit.Feature]:
    """What each SOURCE.LAYER is taken from. Raises UsageError where that is not to be had, or has changed."""
    about = exemplars.about["sources"]
    sources = {each.name: each for each in open_sources(exemplars.about.get("features", list(about)), model, ())}
    for name, told in about.items():
        if name not in sources:
            raise UsageError(f"{exemplars.folder} has features called {name}, which are not to be had any more")
        if told.get("of") and told["of"]["origin"] != sources[name].identity()["origin"]:
            raise UsageError(f"the features {name} have changed since {exemplars.folder} was made of them")
    return {f"{name}.{layer}": sources[name].at(int(layer)) for name in about for layer in about[name]["layers"]}


def _activations(
    asked: pl.DataFrame, x: Float[Tensor, "B T *units"], batch: actkit.Batch, at: str | actkit.Feature
) -> Float[np.ndarray, "m T"]:
    """Of each exemplar asked for, its feature at the tokens of its sequence, which padding follows."""
    real = batch.attention_mask.bool()
    flat = x.flatten(0, 1)[real.flatten()]
    values = flat.flatten(1) if isinstance(at, str) else at(flat)
    number = real.flatten().cumsum(0).view(real.shape) - 1
    rows, units = (torch.from_numpy(asked[key].to_numpy().astype(np.int64)).to(x.device) for key in ("row", "neuron"))
    return values[number[rows].clamp(min=0), units[:, None]].double().cpu().numpy()


def _compared(
    asked: pl.DataFrame, x: Float[np.ndarray, "m T"], valid: Bool[Tensor, "B T"], lengths: Int[np.ndarray, " B"]
) -> pl.DataFrame:
    """The exemplars with `found`, the peak over all valid tokens, and `difference`."""
    rows, position, stored = (asked[key].to_numpy() for key in ("row", "position", "stored"))
    sign = np.where(asked["polarity"].to_numpy() == "+", 1, -1)
    peak = np.where(valid.numpy()[rows], x * sign[:, None], -np.inf).max(axis=1) * sign
    around = asked["around"].to_numpy()
    length = torch.from_numpy(lengths[rows])
    start = window_start(torch.tensor(position), length, around.shape[1]).numpy()
    slot = start[:, None] + np.arange(around.shape[1])
    window = np.take_along_axis(x, np.minimum(slot, x.shape[1] - 1), axis=1)
    apart = np.where(slot < lengths[rows][:, None], np.abs(window - around), 0).max(axis=1)
    at_peak = np.take_along_axis(x, position[:, None], axis=1)[:, 0]
    apart = np.maximum(apart, np.maximum(np.abs(stored - at_peak), np.abs(stored - peak)))
    share = np.nan_to_num(apart / np.maximum(1, np.abs(stored)), nan=np.finfo(float).max)
    return asked.with_columns(found=pl.Series(peak), difference=pl.Series(share))
