"""Stage `annotate`: an LLM splits questions into steps that recall and steps that infer.

After Jin et al. (2025), section 3: a planner sees question and answer and writes the steps, and what is to be recalled
is asked for apart. In their code those answers never reached the steps; here they are the memory steps. What follows
from the steps alone must be the answer.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import runkit
from llmkit import Exchanges
from llmkit.exchanges import NAME as EXCHANGES
from runkit import files
from runkit.errors import UsageError
from runkit.progress import track

from memreason import data, tables
from memreason.annotating import rounds
from memreason.annotating.checks import REFUSED
from memreason.annotating.rounds import Case
from memreason.annotating.teacher import Teacher, forecast
from memreason.data import Data
from memreason.forms import Told, counting
from memreason.options import AnnotateOptions
from memreason.trace import Item

_PIECE = 64  # questions that are annotated again after a kill, at most; their answers are in the cache
_FATE = {"number": pl.Int64, "why": pl.String, "tries": pl.Int64}


def annotate(options: AnnotateOptions) -> Path | None:
    """Run the stage: tables `traces`, `counts` and `dropped`, and exchanges.jsonl.

    Rows of other splits, and those that have steps, are passed on as they are. Returns its folder; None for a dry run,
    which is no run.

    Raises:
        UsageError: no such traces or split, or nothing to annotate.
        LLMKitError: the teacher cannot be asked, or the budget is spent; what was answered is kept.
    """
    if options.dry_run:
        print(forecast(options, _cases(Data.open(options.data), options)))
        return None
    with runkit.stage("memreason.annotate", options) as run:
        if not run.finished:
            found = Data.open(options.data)
            _annotate(run, options, found.items, _cases(found, options))
        return run.folder


def _cases(found: Data, options: AnnotateOptions) -> list[Case]:
    """The questions to be annotated, in the order of their table.

    Raises:
        UsageError: no such split, or all of its rows have steps.
    """
    wanted = {item.id for item in found.split(*options.splits) if options.redo or not item.trace.steps}
    if not wanted:
        raise UsageError(
            f"--data {options.data}: all rows of split {', '.join(options.splits)} have steps; --redo asks anew"
        )
    numbered = enumerate(found.items, start=1)
    return [Case(number, item) for number, item in numbered if item.id in wanted][: options.limit]


def _annotate(run: runkit.StageRun, options: AnnotateOptions, items: Sequence[Item], cases: Sequence[Case]) -> None:
    exchanges = Exchanges(run.folder / "parts" / EXCHANGES, run.trace)
    teacher = Teacher(options, exchanges)
    parts = run.parts("annotated")
    pieces = [cases[at : at + _PIECE] for at in range(0, len(cases), _PIECE)]
    for key, piece in track(parts.missing(enumerate(pieces)), "questions, in sixties", len(pieces)):
        rounds.annotate(piece, teacher.ask, order=options.order, tries=options.tries)
        parts.write(key, _table(piece))
    content = exchanges.content()
    files.write_bytes(run.folder / EXCHANGES, content)
    run.artifact(EXCHANGES)
    _conclude(run, options, items, parts.collect(), content)


def _table(cases: Sequence[Case]) -> pl.DataFrame:
    """What became of cases: as in `traces`, with number, why it is dropped ("" where it is not), and tries."""
    items = [each.item._replace(trace=each.item.trace._replace(steps=each.steps)) for each in cases]
    rows = [(each.number, each.reason, each.tries) for each in cases]
    return data.table(items).hstack(pl.DataFrame(rows, _FATE, orient="row"))


def _conclude(
    run: runkit.StageRun, options: AnnotateOptions, items: Sequence[Item], done: pl.DataFrame, exchanges: bytes
) -> None:
    good, bad = done.filter(why=""), done.filter(pl.col("why") != "")
    kept = {item.id: item for item in data.items(good)}
    asked = set(done["id"])
    passed = {item.id for item in items if item.id not in asked and _passes(item, options)}
    result = [kept.get(item.id, item) for item in items if item.id in kept or item.id in passed]
    run.table("traces", data.table(result), tables.Traces)
    run.table("dropped", _dropped(options.data, bad), tables.Dropped)
    counts = pl.DataFrame(_counts(options.data, done, kept), tables.columns(tables.Counts))
    run.table("counts", counts, tables.Counts)
    run.metrics(_metrics(done, good, exchanges) | {"passed_on": len(passed)})
    if len(bad):
        number, why = bad.select("number", "why").row(0)
        run.log(f"questions that are dropped: {len(bad)} of {len(done)}; the first is row {number}: {why}")
    if errors := int(bad["why"].str.starts_with("error: ").sum()):
        run.log(
            f"{errors} questions are dropped because asking failed (reason error): --fresh asks them again, and takes "
            "the answers there are from the cache"
        )


def _passes(item: Item, options: AnnotateOptions) -> bool:
    """Whether an item that was not annotated belongs to the result: --limit leaves out what it would have annotated."""
    return item.split not in options.splits or bool(item.trace.steps and not options.redo)


def _dropped(source: str, bad: pl.DataFrame) -> pl.DataFrame:
    return bad.select(
        source=pl.lit(source),
        row="number",
        step=pl.lit(None, pl.Int64),
        reason="why",
        text="question",
    )


def _counts(source: str, done: pl.DataFrame, kept: dict[str, Item]) -> list[dict[str, Any]]:
    """Nothing is there before: what is read are questions."""
    found: list[dict[str, Any]] = []
    for split in done["split"].unique(maintain_order=True):
        ids = done.filter(split=split)["id"]
        good = [kept[each].trace.steps for each in ids if each in kept]
        found.append(counting.counted(source, split, "read", [()] * len(ids)))
        found.append(counting.counted(source, split, "kept", [[Told(*step) for step in steps] for steps in good]))
    return found


def _metrics(done: pl.DataFrame, good: pl.DataFrame, exchanges: bytes) -> dict[str, float]:
    """Rows, steps, and what they cost: calls that were sent and tokens of their answers; what was cached is free."""
    lines = [orjson.loads(line) for line in exchanges.splitlines()]
    cost = {"calls": "attempts", "prompt_tokens": "prompt_tokens", "completion_tokens": "completion_tokens"}
    why = done["why"]
    kinds = good["kinds"].list.explode()
    return {
        "rows": len(done),
        "kept": len(good),
        "dropped": len(done) - len(good),
        "errors": int(why.str.starts_with("error: ").sum()),
        "refused": int(why.str.contains(REFUSED, literal=True).sum()),
        "memory": int((kinds == "memory").sum()),
        "reason": int((kinds == "reason").sum()),
        "plans": int(done["tries"].sum()),
        **{name: sum(line.get(field, 0) for line in lines) for name, field in cost.items()},
    }
