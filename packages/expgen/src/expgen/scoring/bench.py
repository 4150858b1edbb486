"""The scores of a group of features: candidates on one split, the chosen one and null descriptions on the other."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import polars as pl

from expgen import tables
from expgen.scoring import Score, Scorer, Trial, contest
from expgen.scoring.cases import Cases, Described
from expgen.scoring.contest import Contest
from expgen.scoring.material import Material, material


def scored(cases: Cases, group: Sequence[Described], scorers: Sequence[Scorer]) -> pl.DataFrame:
    """Rows of the table `scores`. The first scorer chooses each feature's candidate; all of them report it."""
    options = cases.options
    given = partial(material, cases.exemplars, shown=options.shown, random=options.random)
    heard = [each for each in group if each.candidates]
    contests = [Contest(each.candidates, given(each.feature, options.select)) for each in heard]
    contest.hold(scorers[0], contests, halving=options.halving)
    rows = [row for each in contests for row in _selection(each, scorers[0].name)]
    reported = [(each.candidates[each.winner], given(each.candidates[0].feature, options.report)) for each in contests]
    for scorer in scorers:
        rows += _reported(cases, scorer, reported)
        rows += [_unheard(each, scorer.name, options.report) for each in group if not each.candidates]
    return pl.DataFrame(rows, schema=tables.columns(tables.Scores))


def best(scores: pl.DataFrame, scorer: str, select: str, report: str) -> pl.DataFrame:
    """The table `best`, from the table `scores`."""
    key = list(tables.FEATURE_KEY)
    by_scorer = scores.filter(scorer=scorer)
    chosen = by_scorer.filter(kind="candidate", split=select).select(*key, "candidate", chosen="value")
    table = by_scorer.filter(kind="candidate", split=report)
    table = table.join(chosen, on=[*key, "candidate"], maintain_order="left")  # of features that have a description
    for kind in ("other", "empty", "lookup"):
        null = by_scorer.filter(kind=kind).select(*key, pl.col("value").alias(f"null_{kind}"))
        table = table.join(null, on=key, how="left", maintain_order="left")
    return table.select(*tables.columns(tables.Best))


def _selection(held: Contest, scorer: str) -> list[dict[str, Any]]:
    told = zip(held.candidates, held.scores, strict=True)
    return [_row(trial, scorer, held.given.split, score) for trial, score in told]


def _reported(cases: Cases, scorer: Scorer, reported: Sequence[tuple[Trial, Material]]) -> list[dict[str, Any]]:
    """The chosen candidates and their null descriptions, all asked together."""
    work: list[tuple[Trial, Material]] = []
    for trial, given in reported:
        work.append((trial, given))
        nulls = cases.nulls(trial.feature)
        work += [(nulls[kind] or Trial(trial.feature, "", kind), given) for kind in scorer.nulls]
    asked = [each for each in work if not _is_lacking(each[0])]
    found = iter(scorer.evidence(asked))
    return [
        _row(trial, scorer.name, given.split, _LACKING if _is_lacking(trial) else scorer.concluded(trial, next(found)))
        for trial, given in work
    ]


_LACKING = Score.none("missing", "there is no description of another neuron")


def _is_lacking(trial: Trial) -> bool:
    return trial.kind == "other" and not trial.description


def _unheard(each: Described, scorer: str, split: str) -> dict[str, Any]:
    return _row(Trial(each.feature, ""), scorer, split, Score.none(each.status, each.reason or ""))


def _row(trial: Trial, scorer: str, split: str, score: Score) -> dict[str, Any]:
    return {
        **trial.feature._asdict(),
        "candidate": trial.candidate, "kind": trial.kind, "scorer": scorer, "split": split,
        "description": trial.description, **score._asdict(),
    }  # fmt: skip
