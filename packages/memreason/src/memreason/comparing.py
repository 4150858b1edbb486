"""Two runs on the same questions: which is better, by paired tests."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
from runkit.errors import UsageError
from scipy.stats import binomtest, bootstrap

from memreason import tables
from memreason.answers import canonical
from memreason.tables import columns
from memreason.trace import Item

ALL = "all"
_DRAWS = 2000
_ASKED = ("id", "split", "question", "gold")


def compare(a: str, ours: pl.DataFrame, b: str, theirs: pl.DataFrame, seed: int = 0) -> pl.DataFrame:
    """Rows of `tables.Pairs`: one per split, and one of all where there are several.

    Raises:
        UsageError: the two were not asked the same questions; names the first that only one was asked.
    """
    check_same(a, ours, b, theirs)
    both = ours.select("id", "split", a="correct").join(theirs.select("id", b="correct"), on="id", how="inner")
    rows = [
        {"a": a, "b": b, "split": split, **_tested(part["a"].to_numpy(), part["b"].to_numpy(), seed)}
        for split, part in _by_split(both)
    ]
    return pl.DataFrame(rows, schema=columns(tables.Pairs))


def asked(items: Sequence[Item]) -> pl.DataFrame:
    """The questions of items, as `check_same` knows them.

    Raises:
        DataError: a gold answer that is none of its choices.
    """
    rows = [(i.id, i.split, i.trace.question, canonical(i.trace.answer or "", i.choices)) for i in items]
    return pl.DataFrame(rows, dict.fromkeys(_ASKED, pl.String), orient="row")


def check_same(a: str, ours: pl.DataFrame, b: str, theirs: pl.DataFrame) -> None:
    """Raises UsageError where two tables of answers are not about the same questions."""
    for name, mine, other, rest in ((a, ours, b, theirs), (b, theirs, a, ours)):
        only = mine.join(rest, on=_ASKED, how="anti", maintain_order="left")
        if len(only):
            raise UsageError(
                f"{name} and {other} were not asked the same questions, so they cannot be compared: {name} alone was "
                f"asked {only['id'][0]} ({only['split'][0]}) {only['question'][0]!r}, and {len(only) - 1} more; "
                "evaluate both with the same --data, --splits and --limit"
            )


def mcnemar(only_a: int, only_b: int) -> float:
    """Two-sided exact p (McNemar 1947): that as many questions are right in just one as in just the other."""
    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def difference(a: np.ndarray, b: np.ndarray, seed: int) -> tuple[float, float]:
    """95 % interval of the difference of two accuracies: bootstrap over questions, paired, percentiles.

    `a`, `b`: [n] whether each question was answered rightly.
    """
    change = a.astype(float) - b.astype(float)
    if np.ptp(change) == 0:
        return float(change[0]), float(change[0])
    rng = np.random.default_rng(seed)
    found = bootstrap((change,), np.mean, n_resamples=_DRAWS, batch=100, method="percentile", rng=rng)
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def _tested(a: np.ndarray, b: np.ndarray, seed: int) -> dict[str, Any]:
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    low, high = difference(a, b, seed)
    return {
        "n": len(a), "accuracy_a": float(a.mean()), "accuracy_b": float(b.mean()), "only_a": only_a, "only_b": only_b,
        "difference": float(a.mean() - b.mean()), "low": low, "high": high, "p": mcnemar(only_a, only_b),
    }  # fmt: skip


def _by_split(both: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    parts: Any = both.partition_by("split", as_dict=True, maintain_order=True)
    yield from ((split, part) for (split,), part in parts.items())
    if len(parts) > 1:
        yield ALL, both
