"""Stage `discover`: which neurons are strongest while a model writes a chain of thought, and what they promote.

Algorithm 1 (the strongest neurons per layer and step) streams through batched decoding; algorithm 2 (what each of them
promotes) reads their value vectors through the unembedding. Rai & Yao (2024), section 4.
"""

from collections.abc import Sequence
from pathlib import Path

import actkit
import numpy as np
import polars as pl
import runkit
from runkit.errors import UsageError
from runkit.progress import track

from cot_neurons import chains, dense, figures, portraits, sources, tables
from cot_neurons.options import DiscoverOptions
from cot_neurons.portraits import Portraits
from cot_neurons.profiles import Profile
from cot_neurons.strongest import Strongest
from cot_neurons.subject import Subject
from cot_neurons.tags import Pieces


def discover(options: DiscoverOptions) -> Path:
    """Run the stage: tables `activations`, `steps` and `neurons`, figures `chain` and `layers`. Returns its folder."""
    with runkit.stage("cot-neurons.discover", options) as run:
        if run.finished:
            return run.folder
        profile = options.settled()
        subject = Subject.load(options)
        items = _chosen(options, profile, subject)
        layers = _layers(options, subject)
        steps, activations = run.parts("steps"), run.parts("activations")
        batches = actkit.buckets(items["prompt_ids"].list.len().to_list(), options.batch_size)
        watch, room = Watch(subject, profile, layers), actkit.Room(run.log)
        for key, group in track(activations.missing(enumerate(batches), steps), "batches", len(batches)):
            told, seen = zip(*room(group, lambda some: watch(items[some])), strict=True)
            steps.write(key, pl.concat(told))
            activations.write(key, pl.concat(seen))
        run.gather("steps", steps, tables.Steps)
        run.gather("activations", activations, tables.Activations)
        _conclude(run, subject, profile, layers, items, options.promoted)
        return run.folder


class Watch:
    """Decodes a batch of items while keeping the strongest neurons of every step."""

    def __init__(self, subject: Subject, profile: Profile, layers: Sequence[int]) -> None:
        self._subject, self._profile, self._layers = subject, profile, layers
        self._norms = subject.value_norms(layers)
        self._pieces = Pieces(subject.model.tokenizer)

    def __call__(self, items: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The items' steps and the neurons that were strongest at them."""
        profile, rows = self._profile, items["row"].to_list()
        strongest = Strongest(self._norms, self._layers, profile.k, profile.ranking)
        made = self._subject.model.generate(
            self._subject.model.encode(items["prompt_ids"].to_list()),
            capture=strongest.sites,
            on_step=strongest,
            max_new_tokens=profile.chain_tokens,
            stop=profile.stops,
            eos=profile.ends,
        )
        steps = chains.steps(rows, made.tokens, self._pieces, tail=profile.tail)
        return steps, chains.tagged(strongest.table(rows), steps)


def _chosen(options: DiscoverOptions, profile: Profile, subject: Subject) -> pl.DataFrame:
    """The items to watch: a seeded draw from those `infer` answered."""
    items = sources.items(options.items, subject)
    if profile.balanced:
        return chains.balanced(items, profile.items, options.seed)
    right = chains.draw(items.filter("correct_strict"), profile.items, options.seed)
    if right.is_empty():
        raise UsageError(
            f"--profile {options.profile} watches right answers only, and --items {options.items} holds none: "
            "use --profile default, which takes wrong ones too"
        )
    return right.sort("row")


def _layers(options: DiscoverOptions, subject: Subject) -> list[int]:
    """The layers to watch, all by default; sizes asked for are held against the model's."""
    model, known = subject.model, dense.layers(subject, "discover")
    if unknown := [layer for layer in options.layers if layer not in known]:
        raise UsageError(f"--layers {unknown[0]}: the model has layers 0 to {known[-1]}")
    if (k := options.settled().k) > model.dims.d_mlp:
        raise UsageError(f"--k {k}: a layer has only {model.dims.d_mlp} neurons")
    if options.promoted > model.dims.vocab:
        raise UsageError(f"--promoted {options.promoted}: the vocabulary has only {model.dims.vocab} tokens")
    return sorted(set(options.layers or known))


def _conclude(
    run: runkit.StageRun, subject: Subject, profile: Profile, layers: Sequence[int], items: pl.DataFrame, promoted: int
) -> None:
    path = run.folder / "tables" / "activations.parquet"
    steps = pl.read_parquet(run.folder / "tables" / "steps.parquet")
    sums = Portraits(layers, subject.model.dims.d_mlp, steps)
    for piece in chains.pieces(path):
        sums.add(piece)
    neurons = portraits.with_tokens(sums.table(subject.name), subject.model, profile, promoted)
    run.table("neurons", neurons, tables.Neurons)
    run.figure("layers", figures.layer_map(*sums.layer_map(), layers))
    top = portraits.strongest_of_each_kind(neurons)
    chain = chains.example(steps, items)
    scores = chains.grid(chain, chains.pieces(path), top)
    shown = np.flatnonzero(scores.any(axis=1))
    title = chains.question(chain, items)
    run.figure(
        "chain",
        figures.chain(
            chain["token"].to_list(), chain["tag"].to_list(), scores[shown], portraits.labels(top[shown]), title
        ),
    )
    run.metrics(
        {"items": len(items), "items_right": int(items["correct_strict"].sum()), "steps": len(steps)}
        | {"neurons": len(neurons), "layers": len(layers)}
    )
    run.summary(portraits.told(top))
