"""What `exemplars` asks a harvest for, and what it makes of the result."""

import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import islice
from typing import Any

import actkit
import numpy as np
import polars as pl
import torch
from actkit.harvest.plan import Plan, amount

from expgen import tables
from expgen.corpus import Split
from expgen.corpus.files import rows
from expgen.options import ExemplarsOptions
from expgen.sources.features import Source

_TIMED = 2  # batches that the forecast runs
_REDUCING = 1.4  # a harvest takes about so many times its forward passes (benchmarks/exemplars_speed.py)
_LEAST_OF_PEAK = 0.1


def sites(sources: Sequence[Source]) -> list[str | actkit.Feature]:
    """What a harvest is asked for."""
    return [source.at(layer) for source in sources for layer in source.layers]


def named(at: str | actkit.Feature) -> str:
    """What a store calls it."""
    return at if isinstance(at, str) else at.name


def reducers(split: Split, options: ExemplarsOptions, dtype: torch.dtype, *, train: bool) -> list[Any]:
    """The strongest sequences, the random ones and, of the train split, the moments."""
    valid = torch.from_numpy(split.valid)
    top = actkit.TopRows(
        options.k,
        "both",
        options.window,
        valid=valid,
        documents=torch.from_numpy(split.documents),
        per_document=options.per_document,
        dtype=dtype,
    )
    keep = actkit.Keep(rows=random_rows(split, options))
    return [top, keep, actkit.Moments(valid=valid)] if train else [top, keep]


def random_rows(split: Split, options: ExemplarsOptions) -> list[int]:
    """The sequences of a split that are kept whole: the same whatever is harvested."""
    count = len(split.first) - 1
    drawn = np.random.default_rng((options.seed, count)).choice(count, min(options.random, count), replace=False)
    return sorted(drawn.tolist())


def forecast(
    model: actkit.Model, splits: dict[str, Split], sources: Sequence[Source], options: ExemplarsOptions
) -> Iterator[str]:
    """What it will take, in lines: disk and memory worked out, time from two batches that are run for it."""
    plans = {name: _plan(model, split, sources, options, train=name == "train") for name, split in splits.items()}
    tokens = sum(plan.tokens for plan in plans.values())
    features = sum(need.disk > 0 and need.reducer == "toprows" for need in plans["train"].needs)
    yield f"{tokens:,} tokens in {sum(plan.rows for plan in plans.values()):,} sequences; {features} sources and layers"
    worst = max(plans.values(), key=lambda plan: max(plan.device.values()))
    memory = ", ".join(f"{device} {amount(size)}" for device, size in worst.device.items())
    yield f"memory beside the model: {memory}; host {amount(worst.host)}"
    yield f"disk: {amount(sum(plan.disk for plan in plans.values()))}"
    yield f"time: about {_seconds(model, splits['train'], tokens, sources, options)} at the speed of the first batches"


def _plan(
    model: actkit.Model, split: Split, sources: Sequence[Source], options: ExemplarsOptions, *, train: bool
) -> Plan:
    reduce = reducers(split, options, model.hf.dtype, train=train)
    return actkit.plan_harvest(model, rows(split), sites(sources), reduce=reduce, batch_size=options.batch_size)


def _seconds(
    model: actkit.Model, split: Split, tokens: int, sources: Sequence[Source], options: ExemplarsOptions
) -> timedelta:
    """Two batches through the model, of which the second counts, and what reducing adds once most bars are high."""
    sample = list(islice(rows(split), _TIMED * options.batch_size))
    half = max(1, len(sample) // _TIMED)
    read = {at if isinstance(at, str) else at.site for at in sites(sources)}
    taken, room = list[float](), actkit.Room()

    def run(some: Sequence[list[int]]) -> None:
        for found in model.run(model.encode(list(some), pad="right"), capture=read, logits=None).values():
            found.sum().item()

    for part in (sample[:half], sample[half:] or sample[:half]):
        start = time.perf_counter()
        room(part, run)
        taken.append((time.perf_counter() - start) / sum(map(len, part)))
    return timedelta(seconds=round(_REDUCING * taken[-1] * tokens))


def features(store: actkit.Store, split: Split, name: str, model: str) -> pl.DataFrame:
    """Rows of `tables.Features` of one SOURCE.LAYER, from the harvest of the train split."""
    source, _, layer = name.rpartition(".")
    top = store[name, "toprows"]["values"].flatten(1, -2).numpy()
    moments = {key: x.flatten().numpy() for key, x in store[name, "moments"].items() if key != "count"}
    kept = store[name, "keep"]
    number = torch.from_numpy(split.first)[kept["rows"].long()] + kept["positions"]
    sample = kept["values"].flatten(1)[torch.from_numpy(split.valid)[number]].float().numpy()
    told = {
        "mean": moments["mean"],
        "std": np.sqrt(moments["variance"]),
        "low": moments["min"],
        "high": moments["max"],
        **dict(zip(_QUANTILES, np.quantile(sample, tables.QUANTILES, axis=0), strict=True)),
    }
    poles = [_pole(told, top[i, :, 0], sample, sign) for i, sign in enumerate((1, -1))]
    frame = pl.concat(pole.with_columns(polarity=pl.lit(polarity)) for pole, polarity in zip(poles, "+-", strict=True))
    return (
        frame.with_columns(model=pl.lit(model), source=pl.lit(source), layer=pl.lit(int(layer), pl.Int64))
        .select(*tables.columns(tables.Features))
        .cast(pl.Schema(tables.columns(tables.Features)))
        .sort("neuron", "polarity")
    )


_QUANTILES = ("q001", "q01", "q10", "q50", "q90", "q99", "q999")


def _pole(told: dict[str, np.ndarray], peak: np.ndarray, sample: np.ndarray, sign: int) -> pl.DataFrame:
    alive = np.nan_to_num(peak * sign) > 0
    above = (sample * sign > _LEAST_OF_PEAK * np.abs(np.nan_to_num(peak))) & alive
    columns = {**told, "neuron": np.arange(len(peak)), "density": above.mean(axis=0), "alive": alive}
    return pl.DataFrame(columns).with_columns(peak=pl.when(pl.Series(alive)).then(pl.Series(peak.astype(float))))
