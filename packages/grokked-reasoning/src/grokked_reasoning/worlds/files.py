"""The files of a data folder: the paper's names and fields, row by row, so that a world need not fit into memory."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson
import polars as pl
from runkit import files, tables
from runkit.progress import track

from grokked_reasoning.tables import Facts
from grokked_reasoning.worlds.audit import Audit
from grokked_reasoning.worlds.made import Made, Row


def write(folder: Path, made: Made, told: dict[str, Any]) -> pl.DataFrame:
    """Write train.json, valid.json, test.json, facts.parquet, world.json (with `told` in it) and, last, vocab.json.

    Without vocab.json it is no data folder, so one that is not whole is not taken for one.

    Returns:
        Rows per file and type (tables.Splits).

    Raises:
        DataError: the world contradicts itself, so it must not be used.
    """
    audit, unseen = Audit(made), (*made.id, *made.ood)
    counts = {
        "train": _write(folder / "train.json", _seen(track(made.train, "training rows"), audit), typed=made.typed),
        "valid": _write(folder / "valid.json", (row for row in made.test if row.kind in unseen)),
        "test": _write(folder / "test.json", made.test),
    }
    tables.write(folder / "facts.parquet", tables.check(made.facts, Facts, "facts"))
    for name, lines in made.texts.items():
        _write_lines(folder / name, lines)
    world = {"trained": made.trained, "id": made.id, "ood": made.ood, "rows": counts, "counts": made.counts}
    world |= {"chance": made.chance, "audit": audit.result(), **made.more}
    files.write_bytes(folder / "world.json", orjson.dumps(told | world, option=orjson.OPT_INDENT_2))
    files.write_bytes(folder / "vocab.json", orjson.dumps(made.vocabulary))
    records = [(file, kind, rows) for file, kinds in counts.items() for kind, rows in kinds.items()]
    return pl.DataFrame(records, ["file", "type", "rows"], orient="row")


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with files.atomic(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def _seen(rows: Iterable[Row], audit: Audit) -> Iterator[Row]:
    for row in rows:
        audit.see(row)
        yield row


def _write(path: Path, rows: Iterable[Row], *, typed: bool = True) -> dict[str, int]:
    """Write a JSON list, a row a line; returns the rows per type."""
    counts: Counter[str] = Counter()
    with files.atomic(path) as temporary, temporary.open("wb") as file:
        before = b"[\n"
        for row in rows:
            fields = {"input_text": row.prompt, "target_text": row.prompt + row.answer}
            file.write(before + orjson.dumps(fields | {"type": row.kind} if typed else fields))
            counts[row.kind] += 1
            before = b",\n"
        file.write(b"\n]\n" if counts else b"[]\n")
    return dict(counts)
