"""What every maker of a world gives: rows as text, the facts behind them, and what the types of rows mean."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import polars as pl
from runkit.errors import UsageError

SPECIAL = ["<mask>", "<sep>", "<a>", "</a>", "<q>", "</q>"]
"""Strings that every vocabulary of the original has."""


class Row(NamedTuple):
    """A fact as text. `input_text` is the prompt, `target_text` the prompt and the answer, which ends in `</a>`."""

    prompt: str
    answer: str
    kind: str
    """Its type: "id_atomic", "train_inferred", "test_inferred_ood", ..."""


@dataclass(frozen=True)
class Made:
    """A world, ready to be written.

    Rows of the types in `trained` that stand in `test` must be training rows too; no other row of `test` may be one.
    valid.json is made of the rows in `test` whose type is in `id` or `ood`.
    """

    vocabulary: list[str]
    """The strings of vocab.json, in order."""
    train: Iterable[Row]
    """Training rows, gone through once, so that they can be made on the way."""
    test: list[Row]
    """Probes of every type."""
    facts: pl.DataFrame
    """All atomic facts (tables.Facts)."""
    trained: tuple[str, ...]
    """Types of training rows."""
    id: tuple[str, ...]
    """Types of unseen inferences from ID facts, those that say whether a model has grokked."""
    ood: tuple[str, ...]
    """Types of unseen inferences from OOD facts, likewise."""
    typed: bool = True
    """Whether rows of train.json carry their type, as the paper's do except for composition."""
    counts: dict[str, int] = field(default_factory=dict)
    """How many there are of what is in no file: paths, pool of inferences, ..."""
    chance: dict[str, float] = field(default_factory=dict)
    """Accuracy per type of test row of the best answer that does not look at the question, where it is known."""
    head: Callable[[str], str] | None = None
    """Whom a prompt asks about, where the audit is to count test rows whose head and answer training links as well."""
    more: dict[str, Any] = field(default_factory=dict)
    """What else world.json is to say, by name."""
    texts: dict[str, Iterable[str]] = field(default_factory=dict)
    """What else the folder is to hold: lines by file name."""


def stream(seed: int, purpose: str) -> np.random.Generator:
    """Random numbers for one purpose: what is drawn for another cannot change them."""
    return np.random.default_rng((seed, crc32(purpose.encode())))


def quota(phi: float, facts: int, pool: int) -> int:
    """How many inferred facts are trained on: `phi` per ID fact (paper, section 3.1).

    Raises:
        UsageError: the pool has fewer; the largest phi that works is given.
    """
    asked = round(phi * facts)
    if asked > pool:
        raise UsageError(
            f"--phi {phi:g} asks for {asked:,} inferred training facts ({facts:,} ID facts), and this world has "
            f"{pool:,}: at most --phi {pool * 1000 // facts / 1000:g}"
        )
    return asked


def chance(rows: Iterable[Row], said: Callable[[str], str]) -> dict[str, float]:
    """Share of the most common answer per type of row; `said` tells what an answer says."""
    answers: dict[str, Counter[str]] = {}
    for row in rows:
        answers.setdefault(row.kind, Counter())[said(row.answer)] += 1
    return {kind: counted.most_common(1)[0][1] / counted.total() for kind, counted in answers.items()}
