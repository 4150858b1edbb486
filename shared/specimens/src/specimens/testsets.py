"""Test sets as files: generated on first use into the cache folder, the same bytes everywhere."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import NamedTuple

from specimens import arithmetic, world
from specimens.text import LEAD, document

VERSION = 1
"""Part of the file names: to be raised whenever a change of the generators changes what the files hold."""
SIZE = 500
TEXTS = 3000
STEPPED = 120
_MIXED: dict[arithmetic.Axis, int] = {"in-distribution": SIZE // 2, "names": SIZE // 4, "templates": SIZE // 4}


class Stepped(NamedTuple):
    """A question that asks for steps, and its answer in GSM8K's form."""

    question: str
    answer: str


def cache_folder() -> Path:
    """$REASONSCOPE_CACHE, or ~/.cache/reasonscope."""
    return Path(os.environ.get("REASONSCOPE_CACHE") or Path.home() / ".cache" / "reasonscope")


def arithmetic_test() -> Path:
    """See `specimens.arithmetic_test`. Columns: id, question, answer, steps, operators, axis, templates."""
    path = cache_folder() / f"arithmetic-test-v{VERSION}.jsonl"
    return path if path.exists() else _write(path, arithmetic.problems("in-distribution", SIZE))


def arithmetic_mixed() -> Path:
    """See `specimens.arithmetic_mixed`. Columns as in `arithmetic_test`."""
    path = cache_folder() / f"arithmetic-mixed-v{VERSION}.jsonl"
    if path.exists():
        return path
    rows = [row for axis, count in _MIXED.items() for row in arithmetic.problems(axis, count)]
    Random("arithmetic-mixed").shuffle(rows)
    return _write(path, rows)


def steps_test() -> Path:
    """See `specimens.steps_test`. Columns: id, question, answer."""
    path = cache_folder() / f"steps-test-v{VERSION}.jsonl"
    if path.exists():
        return path
    known = [each for split in world.WORLD_SPLITS for each in world.questions(split)]
    recalled = Random("steps-test").sample(known, STEPPED)
    both = zip(recalled, arithmetic.problems("in-distribution", STEPPED, seed=2), strict=True)
    return _write(path, (Stepped(f"{each.question}\n{LEAD}", each.answer) for pair in both for each in pair))


def tiny_text() -> Path:
    """See `specimens.tiny_text`. Columns: id, text."""
    path = cache_folder() / f"tiny-text-v{VERSION}.jsonl"
    if path.exists():
        return path
    solved = [document(each.question, each.answer) for each in arithmetic.problems("in-distribution", TEXTS, seed=1)]
    known = world.text().strip().split("\n\n")
    texts = [*solved, *known]
    Random("tiny-text").shuffle(texts)
    return _place(path, "".join(json.dumps({"id": f"{path.stem}-{i}", "text": t}) + "\n" for i, t in enumerate(texts)))


def world_test() -> Path:
    """See `specimens.world_test`. Columns: id, question, answer, steps, relations, split."""
    path = cache_folder() / f"world-test-v{VERSION}.jsonl"
    return path if path.exists() else _write(path, (q for split in world.WORLD_SPLITS for q in world.questions(split)))


def world_text() -> Path:
    """See `specimens.world_text`."""
    path = cache_folder() / f"world-text-v{VERSION}.txt"
    return path if path.exists() else _place(path, world.text())


def _write(path: Path, rows: Iterable[NamedTuple]) -> Path:
    """Writes rows with ids."""
    lines = [json.dumps({"id": f"{path.stem}-{i}", **row._asdict()}) for i, row in enumerate(rows)]
    return _place(path, "\n".join(lines) + "\n")


def _place(path: Path, text: str) -> Path:
    """Writes a file beside the path, then moves it there: readers see the whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.tmp.{os.getpid()}")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
    return path
