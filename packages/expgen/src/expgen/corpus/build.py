"""From `--data` to the sequences of every split."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from runkit import StageRun
from runkit.errors import DataError, UsageError
from runkit.tables import Schema
from transformers import PreTrainedTokenizerBase

from expgen import tables
from expgen.corpus import Corpus, Split, documents, mixing
from expgen.corpus.draft import Draft
from expgen.corpus.tokens import Special, edges, tokenized
from expgen.options import ExemplarsOptions
from expgen.tables import SPLITS


def build(
    options: ExemplarsOptions, tokenizer: PreTrainedTokenizerBase, context: int | None, run: StageRun | None = None
) -> Corpus:
    """Read, tokenise, split by document, lay out, leave out what is there twice, mix.

    Sequences stand in the order of the data; what is drawn depends on `--seed` alone.

    Args:
        context: tokens the model can read at once.
        run: records what was read.

    Raises:
        UsageError: options that do not go with the tokenizer, the model or each other.
        DataError: bad rows, or a split without sequences.
    """
    special = Special.of(tokenizer, options.count)
    _check(options, special, context)
    draft = Draft(options, special)
    for found in documents.read(options, tokenizer, run):
        draft.add(tokenized(found, tokenizer, special, template="template" in options.count, number=draft.documents))
    candidates = draft.candidates()
    free = candidates.filter(~pl.col("blank") & ~pl.col("repeated"))
    chosen = _mixed(options, free)
    mixture = _mixture(options, draft, candidates, chosen)
    _check_splits(mixture)
    splits = {name: _split(options, draft, name, chosen.filter(split=at)) for at, name in enumerate(SPLITS)}
    return Corpus(splits, mixture)


def _check(options: ExemplarsOptions, special: Special, context: int | None) -> None:
    size = options.seq_len
    if context is not None and size > context:
        raise UsageError(f"--seq-len {size}: {options.model} reads {context} tokens at most")
    if size <= len(special.prefix):
        raise UsageError(f"--seq-len {size}: the tokenizer puts {len(special.prefix)} tokens before every text")
    if options.layout == "packed" and special.end is None:
        raise UsageError(
            f"--layout packed puts an end-of-text token between documents, and the tokenizer of {options.model} has "
            "none: choose --layout windows or documents"
        )


def _mixed(options: ExemplarsOptions, free: pl.DataFrame) -> pl.DataFrame:
    available = [len(free.filter(source=source)) for source in range(len(options.data))]
    for name, count in zip(options.data, available, strict=True):
        if options.ratios and not count:
            raise DataError(f"--ratios: {name} has no sequences at all; leave it out, or lower --seq-len")
    return mixing.drawn(free, mixing.quotas(available, options.ratios, options.limit), options.seed)


def _mixture(options: ExemplarsOptions, draft: Draft, candidates: pl.DataFrame, chosen: pl.DataFrame) -> pl.DataFrame:
    """The table `mixture`; documents and sequences all find themselves in it."""
    key = ["source", "split"]
    told = candidates.group_by(key).agg(pl.sum("blank"), pl.sum("repeated"), pl.len().alias("cut"))
    kept = chosen.group_by(key).agg(pl.len().alias("sequences"), pl.sum("tokens"))
    rows = draft.read().join(told, on=key, how="left").join(kept, on=key, how="left").fill_null(0).sort(key)
    rows = rows.with_columns(left_out=pl.col("cut") - pl.col("blank") - pl.col("repeated") - pl.col("sequences"))
    return _shaped(rows.with_columns(_named("source", options.data), _named("split", SPLITS)), tables.Mixture)


def _check_splits(mixture: pl.DataFrame) -> None:
    for split in SPLITS:
        rows = mixture.filter(split=split).sum()
        if not rows["sequences"][0]:
            ways = ("too_short", "blank", "repeated", "left_out")
            lost = ", ".join(f"{each} {rows[each][0]}" for each in ways)
            raise DataError(
                f"split {split} has no sequences: {rows['documents'][0]} of {mixture['documents'].sum()} documents are "
                f"in it ({lost}); it takes more documents, or another --shares, --limit or --seq-len"
            )


def _split(options: ExemplarsOptions, draft: Draft, split: str, chosen: pl.DataFrame) -> Split:
    rows = [draft.sequence(row) for row in chosen.iter_rows(named=True)]
    texts, *flat = zip(*rows, strict=True)
    ids, starts, ends, valid, owners = (np.concatenate(part) for part in flat)
    table = chosen.with_columns(
        _named("source", options.data), split=pl.lit(split), sequence=pl.int_range(pl.len()), text=pl.Series(texts)
    )
    document = np.flatnonzero(np.diff(owners, prepend=-1))
    first = edges(chosen["tokens"].to_numpy())
    table = _shaped(table, tables.Sequences)
    return Split(ids, starts, ends, valid, first, document, table)


def _named(column: str, names: Sequence[str]) -> pl.Expr:
    return pl.col(column).replace_strict(dict(enumerate(names)), return_dtype=pl.String)


def _shaped(frame: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    return frame.select(pl.col(name).cast(kind) for name, kind in tables.columns(schema).items())
