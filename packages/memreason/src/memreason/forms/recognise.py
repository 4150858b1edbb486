"""Which form a source has, by the columns of its first row, and what it is called."""

import re
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict
from runkit import data, refs
from runkit.errors import DataError

from memreason.forms.draft import Row
from memreason.forms.lines import MARK, LinesRow
from memreason.forms.published import PublishedRow
from memreason.forms.raw import CommonsenseRow, StrategyRow, TaskRow, TruthfulRow
from memreason.forms.traces import TraceRow
from memreason.options import Form

_SPLITS = {"training": "train", "validation": "dev", "valid": "dev", "val": "dev"}
_KNOWN = ("train", "dev", "test")
_DATASETS = ("strategyqa", "commonsenseqa", "truthfulqa", "gsm8k")


class Source(NamedTuple):
    """`name` as the user wrote it; `split`: of rows that say none."""

    name: str
    form: Form
    row: type[Row]
    dataset: str
    split: str


class _First(BaseModel):
    model_config = ConfigDict(extra="allow")


def recognised(name: str, form: Form, split: str | None) -> Source:
    """What a source is.

    Raises:
        UsageError: there is no such source.
        DataError: its columns are those of no form that is known.
    """
    if form == "auto":
        form = _form(name, _first(name, split))
    row = _row(name, form, split)
    place = refs.locate(name)
    words = _words(place, split)
    return Source(name, form, row, _dataset(words, form), split_named(words))


def split_named(words: list[str]) -> str:
    """The split that a name speaks of; train where it speaks of none."""
    spoken = [_SPLITS.get(word, word) for each in words for word in re.split(r"[^a-z]+", each.lower())]
    return next((word for word in spoken if word in _KNOWN), "train")


def split_meant(split: str) -> str:
    """A split as our tables call it: validation is dev."""
    return _SPLITS.get(split.strip().lower(), split.strip())


def _first(name: str, split: str | None) -> dict[str, Any]:
    found = data.load_rows(name, _First, split=split, limit=1, on_bad_row="quarantine")
    return found[0].model_extra or {}


def _form(name: str, first: dict[str, Any]) -> Form:
    if "cot_steps" in first:
        return "published"
    if "mc1_targets" in first:
        return "truthfulqa"
    if "answerKey" in first:
        return "commonsenseqa"
    if "target_scores" in first or {"answer", "facts"} <= set(first):
        return "strategyqa"
    if {"question", "answer"} <= set(first):
        return "lines" if MARK in str(first["answer"]) else "traces"
    raise DataError(
        f"{name}: its columns are those of no form that is known ({', '.join(first)}); known forms: {Row.known_forms}; "
        "rename its columns, or name one with --form"
    )


def _row(name: str, form: Form, split: str | None) -> type[Row]:
    rows: dict[Form, type[Row]] = {
        "published": PublishedRow, "traces": TraceRow, "lines": LinesRow,
        "commonsenseqa": CommonsenseRow, "truthfulqa": TruthfulRow,
    }  # fmt: skip
    if form == "strategyqa":
        return TaskRow if "target_scores" in _first(name, split) else StrategyRow
    return rows[form]


def _words(place: Path | str, split: str | None) -> list[str]:
    """What a source is called, the nearest name first: split, file, folder."""
    path = Path(place) if isinstance(place, Path) else Path(place.partition(":")[0])
    return [*([split] if split else []), path.stem if path.suffix else path.name, path.parent.name]


def _dataset(words: list[str], form: Form) -> str:
    if form in _DATASETS:
        return form
    plain = re.sub(r"[^a-z0-9]", "", " ".join(words).lower())
    known = next((each for each in _DATASETS if each in plain), None)
    return known or next((each for each in words if split_meant(each) not in _KNOWN and each), form)
