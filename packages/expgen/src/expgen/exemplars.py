"""Stage `exemplars`: a corpus through a model once; of every feature of every layer what it responds to most.

Choi et al. (2024) make one pass per layer; here all layers share one, in any number of processes.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import actkit
import orjson
import polars as pl
import runkit
import xxhash
from actkit.harvest.identity import identity
from actkit.harvest.team import Team
from runkit import files
from runkit.errors import UsageError

from expgen import collecting, figures, tables
from expgen.corpus import files as texts
from expgen.corpus.build import build
from expgen.options import ExemplarsOptions
from expgen.sources.features import open_sources
from expgen.store import KIND
from expgen.subject import Subject

_SHARD = 1 << 18  # tokens that are redone after a kill, at most


def exemplars(options: ExemplarsOptions) -> Path | None:
    """Run the stage: `exemplars/SPLIT/`, tables `features`, `sequences` and `mixture`, figure `activations`.

    Started by `accelerate launch` or `torchrun`, every process takes its share of the sequences, and the first keeps
    the record. Returns the run's folder; None in the other processes and for a dry run, which is no run.
    """
    team = Team()
    if options.dry_run:
        print("\n".join(_Case(options, None).forecast()))
        return None
    if team.rank > 0:
        if (folder := team.first(lambda: None)) is not None:
            _Case(options, None).harvest(folder)
        return None
    with runkit.stage("expgen.exemplars", options) as run:
        team.first(lambda: None if run.finished else run.folder)
        if not run.finished:
            _lead(run, options)
        return run.folder


def _lead(run: runkit.StageRun, options: ExemplarsOptions) -> None:
    case = _Case(options, run)
    for line in case.forecast():
        run.log(line)
    case.harvest(run.folder)
    for name, split in case.corpus.splits.items():
        texts.write(run.folder / "exemplars" / name, split)
    run.artifact("exemplars")
    files.write_bytes(run.folder / "about.json", orjson.dumps(case.about(run.folder), option=orjson.OPT_INDENT_2))
    run.artifact("about.json")
    run.table("sequences", pl.concat(split.table for split in case.corpus.splits.values()), tables.Sequences)
    run.table("mixture", case.corpus.mixture, tables.Mixture)
    found = case.features(run.folder)
    run.table("features", found, tables.Features)
    run.figure("activations", figures.activations(found))
    _conclude(run, case, found)


def _conclude(run: runkit.StageRun, case: "_Case", found: pl.DataFrame) -> None:
    split = case.corpus.mixture.group_by("split", maintain_order=True).agg(pl.sum("sequences"), pl.sum("tokens"))
    told = {name: f"{rows:,} sequences, {tokens:,} tokens" for name, rows, tokens in split.iter_rows()}
    alive = int(found["alive"].sum())
    run.metrics({"features": len(found) // 2, "alive": alive, "sequences": int(split["sequences"].sum())})
    strongest = found.filter(pl.col("alive") & (pl.col("std") > 0)).with_columns(
        sigmas=(pl.col("peak") - pl.col("mean")).abs() / pl.col("std")
    )
    best = strongest.sort("sigmas", descending=True).head(3)
    names = [f"{s}.{layer}.{n}{p}" for s, layer, n, p in best.select("source", "layer", "neuron", "polarity").rows()]
    run.summary(
        {"model": case.subject.name, **told, "features": f"{len(found) // 2:,}, fire high or low: {alive:,}"}
        | {"highest peaks": ", ".join(f"{a} ({b:.0f} σ)" for a, b in zip(names, best["sigmas"], strict=True))}
    )


class _Case:
    """Model, corpus and feature sources: the same in every process."""

    def __init__(self, options: ExemplarsOptions, run: runkit.StageRun | None) -> None:
        self.options = options
        self.subject = Subject.load(options, options.dtype)
        self.model = self.subject.model
        self.sources = open_sources(options.features, self.model, options.layers)
        self.corpus = build(options, self.subject.tokenizer, self.model.context, run)
        most = min(len(split.documents) * options.per_document for split in self.corpus.splits.values())
        if options.k > most:
            raise UsageError(
                f"--k {options.k}: the smallest split has {most} sequences to choose from (one document gives at most "
                f"{options.per_document}); take a smaller --k, more data or other --shares"
            )

    def forecast(self) -> Iterator[str]:
        """What it takes, in lines."""
        return collecting.forecast(self.model, self.corpus.splits, self.sources, self.options)

    def harvest(self, folder: Path) -> None:
        """Every split through the model; each process does its share."""
        for name, split in self.corpus.splits.items():
            actkit.harvest(
                self.model,
                texts.rows(split),
                collecting.sites(self.sources),
                reduce=collecting.reducers(split, self.options, self.model.hf.dtype, train=name == "train"),
                store=folder / "exemplars" / name,
                batch_size=self.options.batch_size,
                shard_tokens=_SHARD,
                quiet=True,
            )

    def features(self, folder: Path) -> pl.DataFrame:
        """The table `features`."""
        store = actkit.Store(folder / "exemplars" / "train")
        return pl.concat(
            collecting.features(store, self.corpus.splits["train"], name, self.subject.name) for name in store.sites
        )

    def about(self, folder: Path) -> dict[str, Any]:
        """What about.json says."""
        units = actkit.Store(folder / "exemplars" / "train").units
        sources = {
            source.name: {
                "layers": {str(layer): units(collecting.named(source.at(layer))) for layer in source.layers},
                "of": source.identity(),
            }
            for source in self.sources
        }
        asked = ("revision", "features", "seq_len", "k", "window", "per_document")
        return {
            "kind": KIND,
            "model": self.subject.name,
            "identity": identity(self.model),
            "tokenizer": _digest(self.subject.tokenizer),
            "sources": sources,
            **{name: getattr(self.options, name) for name in asked},
        }


def _digest(tokenizer: Any) -> str:
    return xxhash.xxh3_128_hexdigest(tokenizer.backend_tokenizer.to_str().encode())
