"""A report's database: one SQLite file with all features, for whoever likes to query.

    sqlite3 neurons.sqlite "SELECT name, score, description FROM search JOIN best ON best.id = search.rowid
                            WHERE search MATCH 'colour' ORDER BY score DESC LIMIT 10"

| table | a row is |
|---|---|
| `about` | a fact about the whole: `name`, `value` (model, revision, identity of its weights, sources) |
| `neurons` | a feature and polarity: key, `name` (mlp_post.3.17+), statistics, tokens it promotes, suppresses (JSON) |
| `descriptions` | a candidate; `chosen` by the scores (without scores: the first): its score, interval, nulls' scores |
| `scores` | a score of one description by one scorer on one split |
| `labels` | a concept that cot-neurons gives this neuron |
| `sequences`, `peaks` | a text; where in it a feature is strongest (`first`, `last`: characters; `strength` > 0) |
| `exemplars` (view) | a peak with its text and token |
| `best` (view) | a neuron with its chosen description and score |
| `search` | full text by neuron (`rowid`): `words` (all candidates), `labels`, `raises` (tokens it promotes), `fires` |

`fires` are the tokens at the peaks of the train split; `MATCH 'fires: seven'` looks in one column alone.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from importlib.resources import files as resources
from pathlib import Path

import numpy as np
import orjson
import polars as pl
from runkit import files
from runkit.progress import track

from expgen import tables
from expgen.pages.evidence import KEY, NEURON, NULLS, Evidence, joined_labels
from expgen.store import SIGNS, Exemplars

NAME = "neurons.sqlite"
_STATISTICS = [name for name in tables.columns(tables.Features) if name not in KEY]
_LABEL = ["concept", "score", "judge", "rationale", "auroc", "auroc_low", "auroc_high", "validated"]


def write(path: Path, evidence: Evidence) -> None:
    """Write the file atomically; the same evidence gives the same bytes."""
    with files.atomic(path) as temporary, closing(sqlite3.connect(temporary)) as base:
        base.executescript(resources("expgen.pages").joinpath("database.sql").read_text("utf-8"))
        with base:
            base.executemany("INSERT INTO about VALUES (?, ?)", _about(evidence.exemplars))
            _insert(base, "neurons", _neurons(evidence))
            _insert(base, "descriptions", _descriptions(evidence))
            _insert(base, "scores", _scores(evidence))
            _insert(base, "labels", joined_labels(evidence).select("id", *_LABEL))
            _exemplars(base, evidence)
        base.executescript(resources("expgen.pages").joinpath("search.sql").read_text("utf-8"))


def _about(exemplars: Exemplars) -> Iterator[tuple[str, str | None]]:
    """Words as they are, what has parts as JSON."""
    for name, value in exemplars.about.items():
        yield name, value if value is None or isinstance(value, str) else orjson.dumps(value).decode()


def _insert(base: sqlite3.Connection, table: str, frame: pl.DataFrame) -> None:
    """All rows of a frame, a few at a time, into a table of as many columns in this order."""
    base.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * frame.width)})", frame.iter_rows())


def _neurons(evidence: Evidence) -> pl.DataFrame:
    promoted = evidence.promoted.with_columns(pl.lit("mlp_post").alias("source"))
    both = [pl.col("promotes"), pl.col("suppresses")]
    low = pl.col("polarity") == "-"
    told = [pl.when(low).then(there).otherwise(here).map_elements(_json, pl.String).alias(here.meta.output_name())
            for here, there in zip(both, reversed(both), strict=True)]  # fmt: skip
    frame = evidence.features.join(promoted, on=NEURON, how="left", maintain_order="left")
    return frame.select("id", "name", *KEY, *_STATISTICS, *told)


def _json(tokens: pl.Series) -> str:
    return orjson.dumps(tokens.to_list()).decode()


def _descriptions(evidence: Evidence) -> pl.DataFrame:
    """Candidates with the score of the first scorer; those that were not chosen have none on the split reported."""
    ids = evidence.features.select("id", *KEY)
    chosen = evidence.sides.filter(pl.col("candidate").is_not_null())
    chosen = chosen.select(*KEY, "candidate", "scorer", "value", "score_low", "score_high", *NULLS, chosen=True)
    frame = evidence.descriptions.join(ids, on=KEY, how="left", maintain_order="left")
    frame = frame.join(chosen, on=[*KEY, "candidate"], how="left", maintain_order="left")
    alone = (pl.col("status") == "ok").cum_sum().over(KEY) == 1
    first = alone & (pl.col("status") == "ok") if evidence.best.is_empty() else False
    return frame.select(
        "id", "candidate", "explainer", "description", "status", "reason", pl.col("chosen").fill_null(first),
        "scorer", "value", "score_low", "score_high", *NULLS,
    )  # fmt: skip


def _scores(evidence: Evidence) -> pl.DataFrame:
    ids = evidence.features.select("id", *KEY)
    frame = evidence.scores.join(ids, on=KEY, how="left", maintain_order="left")
    return frame.select("id", "candidate", "kind", "scorer", "split", "value", "low", "high", "n", "status", "reason")


def _exemplars(base: sqlite3.Connection, evidence: Evidence) -> None:
    """`peaks` of one source and layer after the other, then the texts that they are in."""
    exemplars = evidence.exemplars
    spans = {split: _Spans(exemplars, split) for split in tables.SPLITS}
    for name in track(exemplars.names(), "database"):
        source, _, layer = name.rpartition(".")
        ids = evidence.features.filter(source=source, layer=int(layer)).sort("neuron")
        places = [ids.filter(polarity=polarity)["id"].to_numpy() for polarity in SIGNS]
        found = pl.concat(_peaks(exemplars, name, split, np.stack(places), spans[split]) for split in tables.SPLITS)
        _insert(base, "peaks", found.sort("id", "split", "rank"))
    for split in tables.SPLITS:
        base.executemany("INSERT INTO sequences VALUES (?, ?, ?)", spans[split].texts(exemplars))


def _peaks(exemplars: Exemplars, name: str, split: str, ids: np.ndarray, spans: "_Spans") -> pl.DataFrame:
    """Where each feature fires most: [2, F, k] numbers laid out as rows, without those that do not fire so."""
    block = exemplars.block(name, split)
    oriented = block.values.float().numpy() * np.array(list(SIGNS.values())).reshape(2, 1, 1)
    pole, unit, rank = np.nonzero(oriented > 0)
    at = pole, unit, rank
    rows, positions = block.rows.numpy()[at], block.positions.numpy()[at]
    first, last = spans.of(rows, positions)
    return pl.DataFrame(
        {"id": ids[pole, unit], "split": np.full(len(rank), tables.SPLITS.index(split)), "rank": rank,
         "sequence": rows, "first": first, "last": last, "strength": oriented[at]}
    ).with_columns(pl.col("split").replace_strict(dict(enumerate(tables.SPLITS)), return_dtype=pl.String))  # fmt: skip


class _Spans:
    """Each token's characters in its sequence's text, of a whole split; and which sequences were asked for."""

    def __init__(self, exemplars: Exemplars, split: str) -> None:
        self.split = split
        count = len(exemplars.sequences.filter(split=split))
        spans = [exemplars.sequence(split, number).spans for number in range(count)]
        self.first = np.cumsum([0, *map(len, spans)])
        self.spans = np.concatenate(spans) if spans else np.empty((0, 2), int)
        self.used = np.zeros(count, bool)

    def of(self, rows: np.ndarray, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First and last (excluded) character of the tokens at these positions of these sequences."""
        self.used[rows] = True
        found = self.spans[self.first[rows] + positions]
        return found[:, 0], found[:, 1]

    def texts(self, exemplars: Exemplars) -> Iterator[tuple[str, int, str]]:
        """Split, number and text of the sequences that were asked for; SQLite reads a text up to its first NUL."""
        for number in np.flatnonzero(self.used).tolist():
            yield self.split, number, exemplars.sequence(self.split, number).text.replace("\0", "\ufffd")
