"""Stage `import`: questions, annotated or not, as traces; every row and step that is left out is told.

Published annotations (Jin et al. 2025) hold empty steps and tags that are neither memory nor reason. Their authors
trained on the first and renamed the second to memory; here both are dropped, and told. (What was renamed before it was
published, 88 steps of StrategyQA's test, cannot be told any more.)
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import runkit
from runkit import data, refs
from runkit.errors import DataError, UsageError
from runkit.rejected import RejectedRows

from memreason import tables
from memreason.data import table
from memreason.forms import Draft, Source, Told, Ways, counting, recognised, splitting
from memreason.forms.recognise import split_meant
from memreason.options import ImportOptions
from memreason.trace import Item, Step, Trace

_SHOWN = 3


class Read(NamedTuple):
    """A source, its good rows with their numbers, and those that were set aside: numbers, reasons, texts."""

    source: Source
    drafts: list[tuple[int, Draft]]
    rejected: list[tuple[int, str, str]]


def import_(options: ImportOptions) -> Path:
    """Run the stage: tables `traces`, `counts` and `dropped`. Returns its folder.

    Raises:
        UsageError: no such source, or one named twice.
        DataError: bad rows, columns of no known form, an answer outside its choices, ids that two sources share.
    """
    with runkit.stage("memreason.import", options) as run:
        if not run.finished:
            found = _read(run, options)
            items, stems = _items(found, options)
            _conclude(run, found, _with_dev(items, stems, options), stems)
        return run.folder


def _read(run: runkit.StageRun, options: ImportOptions) -> list[Read]:
    if twice := [name for name, times in Counter(options.data).items() if times > 1]:
        raise UsageError(f"--data names {twice[0]} more than once")
    sources = [recognised(name, options.form, options.split) for name in options.data]
    for each in sources:
        run.log(f"{each.name}: form {each.form}")
    rows = data.load_each(
        options.data,
        [each.row for each in sources],
        split=options.split,
        limit=options.limit,
        on_bad_row=options.on_bad_row,
        run=run,
    )
    rejected = _rejected(run.folder)
    ways = Ways(options.seed, options.mend_tags)
    found: list[Read] = []
    for source, good in zip(sources, rows, strict=True):
        bad = _of(source, rejected)
        set_aside = {number for number, _, _ in bad}
        numbers = (number for number in count(1) if number not in set_aside)
        found.append(Read(source, [(next(numbers), row.draft(ways)) for row in good], bad))
    return found


def _rejected(folder: Path) -> pl.DataFrame:
    path = folder / "tables" / "rejected.parquet"
    return pl.read_parquet(path) if path.is_file() else pl.DataFrame(schema=tables.columns(RejectedRows))


def _of(source: Source, rejected: pl.DataFrame) -> list[tuple[int, str, str]]:
    place = str(refs.locate(source.name))
    mine = rejected.filter((pl.col("file") == place) | pl.col("file").str.starts_with(f"{place}/"))
    why = pl.when(pl.col("field") == "").then("reason").otherwise(pl.format("{}: {}", "field", "reason"))
    return mine.select("row", why.alias("why"), "raw").rows()


def _items(found: Sequence[Read], options: ImportOptions) -> tuple[list[Item], list[str]]:
    """All rows as items, and their questions without options.

    Raises:
        DataError: two sources share an id.
    """
    items: list[Item] = []
    stems: list[str] = []
    owners: dict[str, str] = {}
    for source, drafts, _ in found:
        for number, draft in drafts:
            if (owner := owners.setdefault(draft.id, source.name)) != source.name:
                raise DataError(
                    f"{source.name}, row {number}: id {draft.id!r} is one of {owner}, too: import them in two runs, or "
                    "give their rows ids of their own"
                )
            items.append(_item(source, draft, options))
            stems.append(draft.stem)
    return items, stems


def _item(source: Source, draft: Draft, options: ImportOptions) -> Item:
    split = options.as_split or _split(source, draft)
    steps = tuple(Step(step.kind, step.text) for step in draft.steps if not step.fault)
    trace = Trace(draft.question, steps, draft.answer)
    return Item(draft.id, options.dataset or source.dataset, split, trace, draft.choices)


def _split(source: Source, draft: Draft) -> str:
    return split_meant(draft.split) if draft.split and draft.split.strip() else source.split


def _with_dev(items: list[Item], stems: list[str], options: ImportOptions) -> list[Item]:
    """Items to choose by, taken from the training ones of each dataset that brings none of its own."""
    own = {item.dataset for item in items if item.split == "dev"}
    chosen: set[str] = set()
    for dataset in {item.dataset for item in items} - own:
        mine = [at for at, item in enumerate(items) if item.dataset == dataset]
        chosen |= splitting.dev_of([items[i] for i in mine], [stems[i] for i in mine], options.dev, options.seed)
    return [item._replace(split="dev") if item.id in chosen else item for item in items]


def _conclude(run: runkit.StageRun, found: Sequence[Read], items: Sequence[Item], stems: Sequence[str]) -> None:
    run.table("traces", table(items), tables.Traces)
    counts = pl.DataFrame(list(_counts(found, items)), tables.columns(tables.Counts))
    dropped = pl.DataFrame([row for each in found for row in _dropped(each)], tables.columns(tables.Dropped))
    run.table("counts", counts, tables.Counts)
    run.table("dropped", dropped, tables.Dropped)
    leaks = splitting.leaked(items, stems)
    kept, read = (counts.filter(of=of) for of in ("kept", "read"))
    sums = {name: int(kept[name].sum()) for name in ("rows", "annotated", "steps", "memory", "reason")}
    rows, steps = (dropped["step"].is_null().sum(), dropped["step"].is_not_null().sum())
    run.metrics(sums | {"dropped_rows": rows, "dropped_steps": steps, "leaked": len(leaks)})
    run.metrics({f"rows_{split}".replace(" ", "_"): n for split, n in Counter(i.split for i in items).items()})
    for line in _told(dropped, int(read["annotated"].sum()) - sums["annotated"], leaks):
        run.log(line)


def _counts(found: Sequence[Read], items: Sequence[Item]) -> Iterator[dict[str, Any]]:
    rest = iter(items)
    for each in found:
        name = each.source.name
        kept = [next(rest) for _ in each.drafts]
        told = [(_split(each.source, draft), draft.steps) for _, draft in each.drafts]
        for split in dict.fromkeys(split for split, _ in told):
            yield counting.counted(name, split, "read", [steps for own, steps in told if own == split])
        if each.rejected:
            yield counting.counted(name, "", "read", [()] * len(each.rejected))
        for split in dict.fromkeys(item.split for item in kept):
            mine = [item.trace.steps for item in kept if item.split == split]
            yield counting.counted(name, split, "kept", [[Told(*step) for step in steps] for steps in mine])


def _dropped(read: Read) -> Iterator[dict[str, Any]]:
    """Rows that were set aside, and steps that were left out."""
    for number, reason, text in read.rejected:
        yield {"source": read.source.name, "row": number, "step": None, "reason": reason, "text": text}
    for number, draft in read.drafts:
        for place, step in enumerate(draft.steps, start=1):
            if step.fault:
                line = {"source": read.source.name, "row": number, "step": place}
                yield {**line, "reason": step.fault, "text": step.text}


def _told(dropped: pl.DataFrame, bare: int, leaks: Sequence[Item]) -> Iterator[str]:
    """What a person should know."""
    steps = dropped.filter(pl.col("step").is_not_null())
    if len(steps):
        reasons = steps["reason"].value_counts(sort=True).rows()
        yield f"steps dropped: {len(steps)}: " + "; ".join(f"{reason} ({n})" for reason, n in reasons)
    if bare:
        yield f"rows that have lost all their steps: {bare}; they stay as questions, to be annotated or asked"
    if leaks:
        shown = "; ".join(repr(item.trace.question) for item in leaks[:_SHOWN])
        yield f"test questions that are in train or dev, too: {len(leaks)}: {shown}"
