"""What answers are worth: shares with their intervals, steps, labels; on toy worlds what the exact checker says."""

from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl
from scipy.stats import binomtest

from memreason import tables
from memreason.tables import columns
from memreason.trace import KINDS, MEMORY, REASON, Step
from memreason.world import World

Metrics = dict[str, float]
UNTOLD = ""


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Ends of the 95 % interval of a share (Wilson 1927); everything where nothing was counted."""
    if n == 0:
        return 0.0, 1.0
    ends = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    return float(ends.low), float(ends.high)


def rates(answers: pl.DataFrame, kinds: Sequence[str]) -> Metrics:
    """Accuracy with its interval, invalid and well-formed shares, steps and what was written per answer.

    Args:
        answers: of `tables.Answers`, at least one.
        kinds: what the student's arm tells of its steps; memory_share is there where these are memory and reason.
    """
    n, hits = len(answers), int(answers["correct"].sum())
    low, high = wilson(hits, n)
    found = {
        "questions": n,
        "accuracy": hits / n,
        "accuracy_low": low,
        "accuracy_high": high,
        "invalid": answers.filter(status="invalid").height / n,
        "well_formed": answers.filter(pl.col("problems").list.len() == 0).height / n,
        "steps": answers["kinds"].list.len().sum() / n,
        "block_tokens": answers["block_tokens"].sum() / n,
        "new_tokens": answers["new_ids"].list.len().sum() / n,
    }
    told = answers["kinds"].explode().drop_nulls()
    if kinds:
        found |= {f"{kind}_steps": (told == kind).sum() / n for kind in kinds}
    if tuple(kinds) == KINDS and len(told):
        found["memory_share"] = (told == MEMORY).sum() / len(told)
    return found


def checked(answers: pl.DataFrame, world: World) -> pl.DataFrame:
    """Every step that was written, as the exact checker reads it (`tables.Checked`)."""
    records = [
        {"id": key, "step": number, "kind": step.kind, "text": step.text, **verdict._asdict()}
        for key, question, steps in told_steps(answers)
        for number, (step, verdict) in enumerate(zip(steps, world.check(question, steps), strict=True), 1)
    ]
    return pl.DataFrame(records, schema=columns(tables.Checked))


def world_rates(answers: pl.DataFrame, checked: pl.DataFrame, world: World, kinds: Sequence[str]) -> Metrics:
    """Shares that the exact checker knows; each where there is something to count.

    memory_recall: of the facts that solutions need and questions do not give, those that were stated.
    memory_precision: of the facts stated, the true ones. reason_valid: of the conclusions, those that follow.
    label_accuracy: of the steps, those whose kind is what they say (see `label_accuracy`).
    """
    needed = sum(len(world.missing(question, ())) for question in answers["question"])
    missing = sum(len(world.missing(question, steps)) for _, question, steps in told_steps(answers))
    truth = {content: checked.filter(content=content)["true"].mean() for content in KINDS}
    found = {
        "memory_recall": 1 - missing / needed if needed else None,
        "memory_precision": truth[MEMORY],
        "reason_valid": truth[REASON],
        "label_accuracy": label_accuracy(checked) if kinds else None,
    }
    return {name: float(value) for name, value in found.items() if isinstance(value, int | float)}


def label_accuracy(checked: pl.DataFrame) -> float | None:
    """Share of steps whose kind is their content; None without steps.

    A kind that is neither memory nor reason (arms `uniform`, `planned`) counts as the content it stands for most often.
    """
    if checked.is_empty():
        return None
    counts = checked.filter(pl.col("content").is_in(KINDS)).group_by("kind", "content").len()
    most = counts.sort("len", "content", descending=[True, False]).unique("kind", keep="first", maintain_order=True)
    meanings: dict[str, str] = dict(most.select("kind", "content").iter_rows())
    meanings |= {kind: kind for kind in KINDS} | {UNTOLD: UNTOLD}
    pairs = checked.select("kind", "content").iter_rows()
    return sum(meanings.get(kind) == content for kind, content in pairs) / len(checked)


def told_steps(answers: pl.DataFrame) -> Iterator[tuple[str, str, list[Step]]]:
    """Id, question and steps of each answer."""
    for key, question, kinds, texts in answers.select("id", "question", "kinds", "texts").iter_rows():
        yield key, question, list(map(Step, kinds, texts))


def groups(answers: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Answers by dataset and split, under as short a name as tells them apart; one group goes by its split."""
    parts: Any = answers.partition_by("dataset", "split", as_dict=True, maintain_order=True)
    datasets, splits = (answers[name].n_unique() for name in ("dataset", "split"))
    if datasets == 1:
        return {split: part for (_, split), part in parts.items()}
    if splits == 1:
        return {dataset: part for (dataset, _), part in parts.items()}
    return {f"{dataset} {split}": part for (dataset, split), part in parts.items()}
