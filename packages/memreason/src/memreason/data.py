"""Traces of a run of toy, import or annotate, and what the run knows beside them."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import polars as pl
from runkit import refs, tables
from runkit.errors import DataError, UsageError, nearest

from memreason.tables import Texts, Traces, columns
from memreason.trace import Item, Step, Trace

WORLD = "world.json"


class Data(NamedTuple):
    """Items in the order of their table; `texts` are learned beside them; `world`: of a toy world, its file."""

    place: Path
    items: list[Item]
    texts: list[str]
    world: Path | None

    @classmethod
    def open(cls, text: str, option: str = "data") -> "Data":
        """The traces that an option names.

        Raises:
            UsageError: no such run, or one that has no traces.
            DataError: the table is damaged.
        """
        place = refs.resolve(text)
        path = place / "tables" / "traces.parquet" if place.is_dir() else place
        if not path.is_file():
            raise UsageError(f"--{option} {text} has no tables/traces.parquet: name a run of toy, import or annotate")
        texts = path.with_name("texts.parquet")
        world = path.parent.parent / WORLD
        return cls(
            place,
            items(tables.read(path, Traces)),
            tables.read(texts, Texts)["text"].to_list() if texts.is_file() else [],
            world if world.is_file() else None,
        )

    def split(self, *names: str) -> list[Item]:
        """The items of these splits. Raises UsageError where one has none; names those there are."""
        there = dict.fromkeys(item.split for item in self.items)
        for name in names:
            if name not in there:
                raise UsageError(f"split {name}: {self.place} has none; {nearest(name, there)}")
        return [item for item in self.items if item.split in names]

    def annotated(self, *names: str) -> list[Item]:
        """The items of these splits that have steps. Raises DataError where none has."""
        found = [item for item in self.split(*names) if item.trace.steps]
        if not found:
            raise DataError(f"{self.place}: no row of split {', '.join(names)} has steps: annotate it first")
        return found


def items(frame: pl.DataFrame) -> list[Item]:
    """Rows of a table of traces."""
    return [
        Item(
            row["id"],
            row["dataset"],
            row["split"],
            Trace(row["question"], tuple(map(Step, row["kinds"], row["texts"])), row["answer"]),
            tuple(row["choices"]),
        )
        for row in frame.iter_rows(named=True)
    ]


def table(rows: Iterable[Item]) -> pl.DataFrame:
    """Items as a table of traces."""
    records = [
        {
            "id": item.id,
            "dataset": item.dataset,
            "split": item.split,
            "question": item.trace.question,
            "choices": list(item.choices),
            "answer": item.trace.answer,
            "kinds": [step.kind for step in item.trace.steps],
            "texts": [step.text for step in item.trace.steps],
        }
        for item in rows
    ]
    schema = columns(Traces) | {name: pl.List(pl.String) for name in ("choices", "kinds", "texts")}
    return pl.DataFrame(records, schema=schema)
