"""What the training rows of a complex-reasoning world say, and what its hard test asks: as numbers, by attribute."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int
from runkit.errors import DataError, UsageError

from grokked_reasoning.dataset import Data, Rows
from grokked_reasoning.vocabulary import Vocabulary

TASK, HARD = "complex-reasoning", "test_hard"
_KINDS = {
    "entity": re.compile(r"<e_(\d+)>"),
    "attribute": re.compile(r"<attr_(\d+)>"),
    "value": re.compile(r"<(\d+)>"),
    "label": re.compile(r"<attr_\d+_([012])>"),
}
_ATOMIC = ("<q>", "entity", "attribute", "<mask>", "</q>", "<a>", "value", "</a>")
_COMPARISON = ("attribute", "<q>", "entity", "<mask>", "entity", "</q>", "<a>", "label", "</a>")


class Facts(NamedTuple):
    """What training says of one attribute. Entities, values and labels are numbers: `<e_7>` is 7, `<attr_3_2>` is 2.

    atomic: entity and value; comparisons: first entity, second, and 0 (first below second), 1 (equal) or 2 (above).
    """

    atomic: Int[np.ndarray, "a 2"]
    comparisons: Int[np.ndarray, "c 3"]

    def __len__(self) -> int:
        return len(self.atomic) + len(self.comparisons)


class Asked(NamedTuple):
    """One question of the hard test. row: place among the rows of that type in test.json; gold: 0, 1 or 2."""

    row: int
    attribute: int
    first: int
    second: int
    gold: int


@dataclass(frozen=True)
class Knowledge:
    """A world: the facts by attribute, the questions, and how many entities there are."""

    facts: dict[int, Facts]
    questions: list[Asked]
    entities: int

    @classmethod
    def of(cls, data: Data) -> "Knowledge":
        """The world of a data folder that was read with its training rows.

        Raises:
            UsageError: it is a world of another task, or has no hard test.
            DataError: a row is neither an atomic fact nor a comparison.
        """
        if data.world.task != TASK:
            raise UsageError(
                f"--data {data.folder} is a world of {data.world.task}: the question is put to language models for "
                f"{TASK} only; make one with `grokked-reasoning data --task {TASK}`"
            )
        hard = data.test.of(HARD)
        if not len(hard):
            raise UsageError(f"--data {data.folder}: test.json has no rows of type {HARD}: there is nothing to ask")
        reader = _Reader(data.vocabulary)
        atomic = data.train.ids[:, 0] == data.vocabulary.ids.get("<q>", -1)
        told = reader(data.train, atomic, _ATOMIC, f"{data.folder / 'train.json'}")
        compared = reader(data.train, ~atomic, _COMPARISON, f"{data.folder / 'train.json'}")
        asked = reader(hard, np.ones(len(hard), bool), _COMPARISON, f"{data.folder / 'test.json'}, type {HARD}")
        facts = {
            int(each): Facts(told[told[:, 1] == each][:, [0, 2]], compared[compared[:, 0] == each][:, 1:])
            for each in np.unique(np.concatenate([told[:, 1], compared[:, 0], asked[:, 0]]))
        }
        questions = [Asked(row, *map(int, columns)) for row, columns in enumerate(asked)]
        return cls(facts, questions, 1 + int(reader.number["entity"].max()))


class _Reader:
    """Reads rows of one form: the numbers of those tokens that are not the same in every row."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._ids = vocabulary.ids
        self.number = {kind: _numbers(vocabulary.strings, pattern) for kind, pattern in _KINDS.items()}

    def __call__(
        self, rows: Rows, which: Bool[np.ndarray, " N"], form: Sequence[str], source: str
    ) -> Int[np.ndarray, "n k"]:
        chosen, width = rows.take(which), len(form)
        table = np.zeros((len(chosen), width), np.int64)
        shown = chosen.ids[:, :width]
        table[:, : shown.shape[1]] = shown
        columns = [self.number[each][table[:, i]] for i, each in enumerate(form) if each in self.number]
        fixed = [table[:, i] == self._ids.get(each, -1) for i, each in enumerate(form) if each not in self.number]
        whole = chosen.start + chosen.length >= width - 1  # the token that ends it may not be asked for
        good = np.all([whole, *fixed, *(column >= 0 for column in columns)], axis=0)
        if not good.all():
            row = int(np.flatnonzero(which)[np.flatnonzero(~good)[0]])
            raise DataError(f"{source}: row {row} is not of the form {''.join(form)}")
        return np.stack(columns, axis=1)


def _numbers(strings: Sequence[str], pattern: re.Pattern[str]) -> Int[np.ndarray, " V"]:
    """The number in each string of a kind, -1 for the others."""
    found = (pattern.fullmatch(each) for each in strings)
    return np.array([int(match[1]) if match else -1 for match in found])
