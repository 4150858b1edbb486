"""What is judged: the answers of a run of evaluate, held against the data they are about."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl
from runkit import runs
from runkit.errors import UsageError, nearest

from memreason import tables
from memreason.data import Data
from memreason.options import ErrorsOptions
from memreason.trace import Step
from memreason.world import World

CHECKER = "checker"
"""What tables call the exact checker."""


class Said(NamedTuple):
    """One answer of a student. `answer`: as it was read, None where there was none to read."""

    id: str
    question: str
    choices: tuple[str, ...]
    gold: str
    steps: tuple[Step, ...]
    answer: str | None


@dataclass(frozen=True)
class Case:
    """All that is read. `wrong`: the answers that are wrong; `looked`: those whose steps are looked at, right or wrong;
    both drawn where there is a limit. `world`: of toy data."""

    answers: pl.DataFrame
    wrong: list[Said]
    looked: list[Said]
    world: World | None

    @classmethod
    def open(cls, options: ErrorsOptions) -> "Case":
        """Everything read and checked, before anybody is asked.

        Raises:
            UsageError: no such run or data, answers to other questions, or nobody who could judge.
            DataError: a table is damaged.
        """
        place = runs.folder(options.answers, "answers", "memreason.evaluate")
        answers = runs.table(place, "answers", tables.Answers)
        data = Data.open(options.data)
        _check_judge(options, data)
        choices = _choices(answers, data, options)
        said = [
            Said(
                row["id"], row["question"], choices[row["id"]], row["gold"],
                tuple(map(Step, row["kinds"], row["texts"])), row["answer"],
            )
            for row in answers.iter_rows(named=True)
        ]  # fmt: skip
        right = answers["correct"].to_list()
        return cls(
            answers,
            _drawn([each for each, fine in zip(said, right, strict=True) if not fine], options),
            _drawn([each for each in said if each.steps], options),
            World.load(data.world) if data.world else None,
        )


def _check_judge(options: ErrorsOptions, data: Data) -> None:
    if options.judge == CHECKER:
        raise UsageError(f"--judge {CHECKER}: toy worlds are checked exactly in any case; leave it out, or name an LLM")
    if options.judge is None and data.world is None:
        raise UsageError(
            f"--data {options.data} is no toy world, so no exact checker knows what is true: name an LLM with --judge"
        )


def _choices(answers: pl.DataFrame, data: Data, options: ErrorsOptions) -> dict[str, tuple[str, ...]]:
    """The choices of every question answered. Raises UsageError where the data is not what was asked about."""
    known = {item.id: item for item in data.items}
    for name, question in answers.select("id", "question").iter_rows():
        if name not in known:
            raise UsageError(
                f"--data {options.data} has no question {name!r}, which --answers {options.answers} answers; "
                f"{nearest(name, known)}"
            )
        if known[name].trace.question != question:
            raise UsageError(
                f"--answers {options.answers} is about other data than --data {options.data}: question {name!r} is "
                f"{question[:80]!r} there and {known[name].trace.question[:80]!r} here"
            )
    return {name: known[name].choices for name in answers["id"]}


def _drawn(said: list[Said], options: ErrorsOptions) -> list[Said]:
    """At most `--limit` of them, drawn at random, in their order."""
    order = np.random.default_rng(options.seed).permutation(len(said))[: options.limit]
    return [said[i] for i in sorted(order.tolist())]
