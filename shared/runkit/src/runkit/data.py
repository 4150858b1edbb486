"""Rows of data from a file, a folder, or the Hugging Face hub, through the same argument."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar

from pydantic import BaseModel

from runkit import hub, manifest, provenance, readers, refs
from runkit.errors import DataError, UsageError, nearest
from runkit.readers import Raw
from runkit.rows import Checker, Rejected

if TYPE_CHECKING:
    from runkit.record import StageRun

T = TypeVar("T", bound=BaseModel)
_SHOWN = 5


def load_rows(
    source: str | Path,
    model: type[T],
    *,
    split: str | None = None,
    limit: int | None = None,
    on_bad_row: Literal["error", "quarantine"] = "error",
    run: "StageRun | None" = None,
    unique: Sequence[str] = ("id",),
) -> list[T]:
    """The rows of `source`, each checked against `model`.

    Args:
        source: a .jsonl, .json, .csv or .parquet file; a folder of them, of which `split` picks one by name; a hub id
            (`openai/gsm8k:main` names a configuration), read through `datasets`; or what `runkit.refs` knows.
        limit: stop after this many good rows.
        on_bad_row: `error` stops at bad rows, naming the first five; `quarantine` sets them aside in
            tables/rejected.parquet of `run` and goes on.
        run: records the input, and rows_read = rows_kept + rows_rejected.
        unique: fields that may not repeat together, where the model has them.

    Raises:
        UsageError: no such file, split or dataset.
        DataError: bad rows (with `error`), no rows, or a file that cannot be read.
    """
    loaded = _load(source, model, split, limit, unique, run)
    _settle([loaded], on_bad_row, run)
    return loaded.kept


def load_each(
    sources: Sequence[str | Path],
    model: type[T] | Sequence[type[T]],
    *,
    split: str | None = None,
    limit: int | None = None,
    on_bad_row: Literal["error", "quarantine"] = "error",
    run: "StageRun | None" = None,
    unique: Sequence[str] = ("id",),
) -> list[list[T]]:
    """Like `load_rows` for several sources: the rows of each. What is set aside of all of them stands in one table, and
    the counts are of all of them together. `model`: of all sources, or of each; `limit`: good rows of each.
    """
    models = [model] * len(sources) if isinstance(model, type) else model
    pairs = zip(sources, models, strict=True)
    loaded = [_load(source, each, split, limit, unique, run) for source, each in pairs]
    _settle(loaded, on_bad_row, run)
    return [each.kept for each in loaded]


class _Loaded(NamedTuple, Generic[T]):
    place: str
    kept: list[T]
    rejected: list[Rejected]


def _load(
    source: str | Path,
    model: type[T],
    split: str | None,
    limit: int | None,
    unique: Sequence[str],
    run: "StageRun | None",
) -> _Loaded[T]:
    found = _open(source, split, run)
    checker = Checker(model, found.name, unique)
    return _Loaded(found.place, *_sort(checker.check(_with_columns(found, checker)), limit))


def _settle(loaded: Sequence[_Loaded[T]], on_bad_row: str, run: "StageRun | None") -> None:
    """Put on record what was read, or refuse it."""
    for place, kept, rejected in loaded:
        if not kept and not rejected:
            raise DataError(f"{place} has no rows")
        if rejected and on_bad_row == "error":
            raise DataError(_explain(place, len(kept), rejected))
    if run is not None:
        _record(run, loaded)
    for place, kept, rejected in loaded:
        if not kept:
            raise DataError(f"{place}: none of {len(rejected)} rows is good; the first: {_say(rejected[0])}")


class _Found(NamedTuple):
    place: str
    name: str
    rows: Iterator[Raw]


def _open(source: str | Path, split: str | None, run: "StageRun | None") -> _Found:
    place = refs.locate(source)
    if isinstance(place, str):
        dataset = hub.load(place, split)
        name, digest, rows = dataset.split, dataset.digest, dataset.rows
    else:
        place = _file(place, split)
        manifest.trust(place)
        name, digest, rows = place.stem, provenance.fingerprint(place), readers.read(place)
    if run is not None:
        run.input("data", str(place), digest)
    return _Found(str(place), name, rows)


def _file(path: Path, split: str | None) -> Path:
    if path.is_dir():
        return _in_folder(path, split)
    if split is not None and split != path.stem:
        raise UsageError(f"--split {split}: {path} is a single file; leave --split out, or name its folder")
    return path


def _in_folder(folder: Path, split: str | None) -> Path:
    known = [each for each in sorted(folder.iterdir()) if each.suffix.lower() in readers.READERS]
    tables = [each for each in known if each.suffix.lower() != ".txt"]  # a text beside tables is about them
    found = {each.stem: each for each in tables or known}
    if split is None and len(found) == 1:
        return next(iter(found.values()))
    if split is None:
        raise UsageError(f"{folder} holds {', '.join(found) or 'no files of rows'}: choose one with --split")
    if split not in found:
        raise UsageError(f"--split {split}: no such file of rows in {folder}; {nearest(split, found)}")
    return found[split]


def _with_columns(found: _Found, checker: Checker[Any]) -> Iterator[Raw]:
    """The rows again, once it is clear that every required column is in at least one of them.

    Raises:
        DataError: one is in none; what columns there are is said, and the nearest name.
    """
    seen: list[Raw] = []
    columns: dict[str, None] = {}
    for row in found.rows:
        seen.append(row)
        columns.update(dict.fromkeys(row.values or ()))
        if columns and not checker.missing(columns):
            break
    if columns and (fault := checker.missing(columns)):
        raise DataError(f"{found.place}: {fault}")
    return chain(seen, found.rows)


def _sort(rows: Iterable[T | Rejected], limit: int | None) -> tuple[list[T], list[Rejected]]:
    kept: list[T] = []
    rejected: list[Rejected] = []
    for row in rows:
        if isinstance(row, Rejected):
            rejected.append(row)
        else:
            kept.append(row)
        if len(kept) == limit:
            break
    return kept, rejected


def _explain(place: str, kept: int, rejected: list[Rejected]) -> str:
    lines = "\n  ".join(_say(row) for row in rejected[:_SHOWN])
    more = f"\n  and {len(rejected) - _SHOWN} more" if len(rejected) > _SHOWN else ""
    count = f"{len(rejected)} of {kept + len(rejected)} rows {'is' if len(rejected) == 1 else 'are'} bad"
    return f"{place}: {count}:\n  {lines}{more}\nmend the file, or set bad rows aside with --on-bad-row quarantine"


def _say(row: Rejected) -> str:
    return f"row {row.row}{f', field {row.field!r}' if row.field else ''}: {row.reason}"


def _record(run: "StageRun", loaded: Sequence[_Loaded[T]]) -> None:
    kept, bad = (sum(len(each[part]) for each in loaded) for part in (1, 2))
    run.metrics({"rows_read": kept + bad, "rows_kept": kept, "rows_rejected": bad})
    if not bad:
        return
    import polars as pl

    from runkit.rejected import RejectedRows, as_table

    run.table("rejected", pl.concat(as_table(each.place, each.rejected) for each in loaded), RejectedRows)
    for place, good, rejected in loaded:
        if rejected:
            run.log(
                f"{len(rejected)} of {len(good) + len(rejected)} rows of {place} set aside in tables/rejected.parquet"
            )
