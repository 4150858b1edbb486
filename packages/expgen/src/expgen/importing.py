"""Stage `import`: exemplar files of Choi et al. (2024), in the npy layout of their code, as a run that `describe` and
`score` read like one of `exemplars`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import runkit
import xxhash
from runkit import files, refs
from runkit.errors import UsageError
from runkit.progress import track
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from expgen import figures, tables
from expgen.corpus import files as texts
from expgen.imported import layer as layers
from expgen.imported import statistics
from expgen.imported.catalogue import Catalogue, mixture, split_of
from expgen.imported.layout import Layout
from expgen.imported.spans import known
from expgen.options import ImportOptions
from expgen.store import KIND

_SOURCE = "mlp_post"


def import_(options: ImportOptions) -> Path:
    """Run the stage: `exemplars/SPLIT/`, tables `features`, `sequences` and `mixture`, figure `activations`.

    Every neuron keeps its own random sequences. A split the folder has not is there without a sequence. What of the
    table `features` is an estimate is said in `expgen.imported.statistics` and in the run's log.

    Raises:
        UsageError: there is no such folder, layer or tokenizer.
        DataError: a file is not what the layout says; names it.
    """
    # Before the run is opened, which reads the whole folder to know it again: hundreds of gigabytes, maybe.
    layout, tokenizer = Layout(Path(options.folder).expanduser(), options.layers), _tokenizer(options)
    with runkit.stage("expgen.import", options) as run:
        if run.finished:
            return run.folder
        for line in _told(layout):
            run.log(line)
        _exemplars(run, layout, tokenizer, options.model_name)
        about = orjson.dumps(_about(layout, tokenizer, options), option=orjson.OPT_INDENT_2)
        files.write_bytes(run.folder / "about.json", about)
        run.artifact("about.json")
        _conclude(run)
        return run.folder


def _exemplars(run: runkit.StageRun, layout: Layout, tokenizer: PreTrainedTokenizerBase, model: str) -> None:
    """Every layer of every split, and each split's texts; then the tables."""
    stats, sequences, ids = run.parts("features"), run.parts("sequences"), known(tokenizer)
    documents = 0
    for number, split in enumerate(tables.SPLITS):
        folder = run.folder / "exemplars" / split
        done = run.parts(f"rows-{split}")
        catalogue = Catalogue(done.pieces() if done.keys() else ())
        for layer, _ in done.missing((layer, None) for layer in track(layout.layers, f"layers of {split}")):
            layers.write(folder, f"{_SOURCE}.{layer}", layout, split, int(layer), catalogue, ids)
            if split == "train":
                stats.write(layer, statistics.features(layout, int(layer), model))
            done.write(layer, catalogue.fresh())
        for key, _ in sequences.missing([(number, None)]):
            made = split_of(done.collect(), split, tokenizer, layout.names, documents)
            texts.write(folder, made)
            sequences.write(key, made.table)
        documents += sum(map(len, done.pieces()))
    run.gather("sequences", sequences, tables.Sequences)
    run.table("mixture", mixture(sequences.pieces()), tables.Mixture)
    run.gather("features", stats, tables.Features)
    run.artifact("exemplars")


def _tokenizer(options: ImportOptions) -> PreTrainedTokenizerBase:
    place = refs.locate(options.tokenizer)
    try:
        return AutoTokenizer.from_pretrained(str(place), revision=options.revision, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises nothing more particular for a damaged file
        told = (str(error).splitlines() or [type(error).__name__])[0][:300]
        raise UsageError(f"--tokenizer {options.tokenizer}: there is none that can be loaded: {told}") from error


def _told(layout: Layout) -> Iterator[str]:
    """What the folder has and has not."""
    neurons, k, tokens = layout.sizes
    yield (f"{len(layout.layers)} layers of {neurons:,} neurons, {k} sequences of {tokens} tokens for each polarity; "
           f"splits: {', '.join(layout.splits)}")  # fmt: skip
    if missing := [split for split in tables.SPLITS if split not in layout.splits]:
        yield f"no split {' nor '.join(missing)}: nothing can be chosen or scored there"
    if bare := [split for split in layout.splits if split not in layout.random]:
        yield f"no random sequences for {', '.join(bare)} (folders random_...): scores there have no contrast"
    split = statistics.sampled(layout)
    of = "its strongest sequences, which is far too high" if split == "train" else f"the sequences in {split}"
    yield f"means, deviations, quantiles and densities are estimated from {of}; lows, highs and peaks are exact"


def _about(layout: Layout, tokenizer: Any, options: ImportOptions) -> dict[str, Any]:
    neurons, k, tokens = layout.sizes
    by_layer = {str(layer): neurons for layer in layout.layers}
    return {
        "kind": KIND,
        "model": options.model_name,
        "identity": None,
        "tokenizer": xxhash.xxh3_128_hexdigest(tokenizer.backend_tokenizer.to_str().encode()),
        "features": [_SOURCE],
        "sources": {_SOURCE: {"layers": by_layer}},
        **{"revision": options.revision, "seq_len": tokens, "k": k, "window": tokens, "per_document": k},
    }


def _conclude(run: runkit.StageRun) -> None:
    found, counts = (pl.read_parquet(run.folder / f"tables/{name}.parquet") for name in ("features", "mixture"))
    run.figure("activations", figures.activations(found))
    alive, sequences = int(found["alive"].sum()), counts.group_by("split", maintain_order=True).agg(pl.sum("sequences"))
    run.metrics({"features": len(found) // 2, "alive": alive, "sequences": int(sequences["sequences"].sum())})
    told = {split: f"{count:,} sequences" for split, count in sequences.rows()}
    run.summary({"model": found["model"][0], **told, "features": f"{len(found) // 2:,}, fire high or low: {alive:,}"})
