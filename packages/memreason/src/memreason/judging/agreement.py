"""What a judge is worth: its verdicts beside the exact checker's, on the same answers and steps."""

import math
import warnings
from collections.abc import Iterator
from typing import Any

import polars as pl
from sklearn.metrics import accuracy_score, cohen_kappa_score

from memreason import tables
from memreason.judging.case import CHECKER
from memreason.measured import wilson

_ABOUT = {"blame": ("blame", ["id"]), "content": ("content", ["id", "step"])}


def agreement(blame: pl.DataFrame, decoupling: pl.DataFrame) -> pl.DataFrame:
    """The table `agreement`: how often the judge says what where the checker says what; missing verdicts left out."""
    rows = [row for about, pairs in paired(blame, decoupling) for row in _counts(about, pairs)]
    return pl.DataFrame(rows, tables.columns(tables.Agreement))


def measures(blame: pl.DataFrame, decoupling: pl.DataFrame) -> dict[str, float]:
    """Share of verdicts that agree, with its interval, and Cohen's (1960) kappa; left out where undefined."""
    told: dict[str, float] = {}
    for about, pairs in paired(blame, decoupling):
        checker, judge = pairs["checker"].to_list(), pairs["said"].to_list()
        name = f"agreement/{about}"
        told[f"{name}_n"] = len(pairs)
        if len(pairs):
            told[name] = float(accuracy_score(checker, judge))
            low, high = wilson(round(told[name] * len(pairs)), len(pairs))
            told |= {f"{name}_low": low, f"{name}_high": high}
            kappa = _kappa(checker, judge)
            told |= {} if kappa is None else {f"{name}_kappa": kappa}
    return told


def paired(blame: pl.DataFrame, decoupling: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    """What was judged (`blame`, `content`), and the verdicts of `checker` and judge (`said`) on the same."""
    for (about, (column, keys)), frame in zip(_ABOUT.items(), (blame, decoupling), strict=True):
        exact = frame.filter(judge=CHECKER).select(*keys, checker=column)
        asked = frame.filter(pl.col("judge") != CHECKER, status="ok").select(*keys, "judge", said=column)
        yield about, asked.join(exact, on=keys, how="inner", maintain_order="left")


def _counts(about: str, pairs: pl.DataFrame) -> Iterator[dict[str, Any]]:
    counted = pairs.group_by("judge", "checker", "said").len("n").sort("judge", "checker", "said")
    yield from ({"about": about, **row} for row in counted.iter_rows(named=True))


def _kappa(checker: list[str], judge: list[str]) -> float | None:
    """None where both say the same of everything: then there is no agreement beyond chance to speak of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sklearn warns before it gives NaN
        kappa = float(cohen_kappa_score(checker, judge))
    return kappa if math.isfinite(kappa) else None
