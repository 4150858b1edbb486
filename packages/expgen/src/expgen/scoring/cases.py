"""What is to be scored: the described features, their candidates, and the descriptions of others."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from runkit import refs
from runkit.errors import DataError, UsageError
from runkit.tables import read

from expgen import tables
from expgen.options import ScoreOptions
from expgen.scoring import LOOKUP, Trial, generator
from expgen.scoring.origins import check_origin
from expgen.store import Exemplars, Feature, drawn

GROUP = 32  # features whose texts go to a simulator or judge together; a kill costs at most these
_TRIES = 64
_KEY = list(tables.FEATURE_KEY)


class Described(NamedTuple):
    """A feature and its candidates; without any, `status` (silent or missing) and `reason` say why."""

    feature: Feature
    candidates: tuple[Trial, ...]
    status: str = "ok"
    reason: str | None = None


@dataclass(frozen=True)
class Cases:
    """Descriptions and the exemplars on which they are scored.

    `rows`: one per feature, with its descriptions in lists.
    """

    options: ScoreOptions
    exemplars: Exemplars
    rows: pl.DataFrame
    others: "Others"

    @classmethod
    def open(cls, options: ScoreOptions) -> "Cases":
        """What the options name.

        Raises:
            UsageError: exemplars of another model or revision than the described ones, or a bad --feature.
            DataError: a table of descriptions of features that the exemplars do not have.
        """
        exemplars = Exemplars.open(options.exemplars)
        table = _described(options, exemplars)
        others = Others.of(table, options.seed)
        if options.text is not None:
            table = _own(exemplars.feature(options.feature or ""), options.text)
        rows = table.group_by(_KEY, maintain_order=True).agg("candidate", "description", "status", "reason")
        return cls(options, exemplars, drawn(rows, options.limit, options.seed), others)

    def groups(self) -> Iterator[tuple[int, list[Described]]]:
        """The features, some tens at a time, numbered."""
        for number, rows in enumerate(self.rows.iter_slices(GROUP)):
            yield number, [_case(row) for row in rows.iter_rows(named=True)]

    def nulls(self, feature: Feature) -> dict[str, Trial | None]:
        """The null descriptions of a feature by kind; None: there is no description of another one."""
        other = self.others.draw(feature)
        return {
            "other": None if other is None else Trial(feature, other, "other"),
            "empty": Trial(feature, "", "empty"),
            "lookup": Trial(feature, LOOKUP, "lookup"),
        }


class Others:
    """Descriptions by source and polarity, to draw another neuron's from."""

    def __init__(self, pools: dict[tuple[str, str], pl.DataFrame], seed: int) -> None:
        self._seed = seed
        self._pools = {
            key: (rows.select("layer", "neuron").to_numpy(), rows["description"]) for key, rows in pools.items()
        }

    @classmethod
    def of(cls, table: pl.DataFrame, seed: int) -> "Others":
        """All good descriptions of a table."""
        pools = table.filter(status="ok").partition_by("source", "polarity", as_dict=True)
        return cls({(str(source), str(polarity)): rows for (source, polarity), rows in pools.items()}, seed)

    def draw(self, feature: Feature) -> str | None:
        """Another neuron's description, of the same source and polarity, always the same; None: there is none."""
        pool = self._pools.get((feature.source, feature.polarity))
        if pool is None:
            return None
        places, descriptions = pool
        random = generator(self._seed, str(feature), "other")
        for i in random.integers(len(places), size=_TRIES):
            if tuple(places[i]) != (feature.layer, feature.neuron):
                return descriptions[int(i)]
        others = np.flatnonzero((places != (feature.layer, feature.neuron)).any(axis=1))
        return descriptions[int(random.choice(others))] if len(others) else None

    def sample(self, feature: Feature, count: int) -> list[str]:
        """At most so many different descriptions of other neurons of the same source, of either polarity."""
        found: dict[str, None] = {}
        for (source, polarity), (places, descriptions) in sorted(self._pools.items(), key=lambda each: each[0]):
            if source == feature.source:
                random = generator(self._seed, str(feature), "sample", polarity)
                order = random.permutation(len(places))[: 2 * count]
                kept = [i for i in order if tuple(places[i]) != (feature.layer, feature.neuron)]
                found |= dict.fromkeys(descriptions[int(i)] for i in kept[:count])
        return list(found)


def _described(options: ScoreOptions, exemplars: Exemplars) -> pl.DataFrame:
    """The table of descriptions; without rows where there is none."""
    if options.descriptions is None:
        return pl.DataFrame(schema=tables.columns(tables.Descriptions))
    path = _table(options.descriptions)
    table = read(path, tables.Descriptions)
    check_origin(path, table, exemplars)
    known = table.with_row_index("row").join(exemplars.features, on=_KEY, how="anti", maintain_order="left")
    if len(known):
        row = known.row(0, named=True)
        name = str(Feature(*(row[column] for column in _KEY)))
        raise DataError(
            f"{path}, row {row['row']}: {name} is no feature of --exemplars {options.exemplars}, "
            f"which has {', '.join(exemplars.names())}"
        )
    return table


def _table(text: str) -> Path:
    path = refs.resolve(text, stage="expgen.describe", artifact="tables/descriptions.parquet")
    if path.suffix != ".parquet":
        raise UsageError(f"--descriptions {text} is no table (.parquet) of descriptions and no run of describe")
    return path


def _own(feature: Feature, text: str) -> pl.DataFrame:
    """A table of one description, that a person wrote."""
    said = {"candidate": 0, "explainer": "user", "description": text, "status": "ok", "reason": None, "shown": []}
    return pl.DataFrame([feature._asdict() | said], schema=tables.columns(tables.Descriptions))


def _case(row: dict) -> Described:
    feature = Feature(*(row[column] for column in _KEY))
    told = zip(row["candidate"], row["description"], row["status"], row["reason"], strict=True)
    candidates, faults = [], []
    for candidate, description, status, reason in sorted(told, key=lambda each: each[0]):
        if status == "ok":
            candidates.append(Trial(feature, description, "candidate", candidate))
        else:
            faults.append((status, reason))
    if candidates:
        return Described(feature, tuple(candidates))
    status, reason = faults[0]
    if status == "silent":
        return Described(feature, (), "silent", reason or "it never fires so")
    return Described(feature, (), "missing", f"it has no description ({status}: {reason})")
