"""The questions of a dataset, put to a student in batches of like length."""

import hashlib
from collections.abc import Iterable, Sequence

import actkit
import polars as pl
from runkit import StageRun

from memreason import grading
from memreason.asking import say
from memreason.data import Data
from memreason.options import AskingOptions
from memreason.steering.rules import Rules
from memreason.student import Student
from memreason.trace import Item
from memreason.unwritable import told, unwritable


class Questions:
    """`batches`: places in `items`, short prompts with short ones, always the same."""

    def __init__(self, student: Student, items: Sequence[Item], options: AskingOptions) -> None:
        self.student, self.items, self.options = student, items, options
        self.prompts = [student.codec.prompt(item.trace.question) for item in items]
        self._room = actkit.Room()
        self.batches = actkit.buckets([len(prompt) for prompt in self.prompts], options.batch_size)

    def warn(self, run: StageRun) -> None:
        """Say which questions are not asked, or not as they are written; metric `unwritable`.

        Prompts that leave no room in the context are answered by nothing, and count as invalid.
        """
        model, codec = self.student.model, self.student.codec
        if long := model.too_long(self.prompts, 1):
            run.log(
                f"{len(long)} of {len(self.items)} prompts leave no room in the context of {model.context} tokens "
                f"(first: {self.items[long[0]].id}): they count as invalid"
            )
        lost = unwritable(codec, zip([item.id for item in self.items], self.prompts, strict=True))
        if lost:
            run.log(told(codec, lost, f"{len(self.items):,} questions", "asked"))
        run.metrics({"unwritable": len(lost)})

    def ask(self, places: Sequence[int], rules: Sequence[Rules] | None = None) -> pl.DataFrame:
        """Graded answers to one batch. `rules`: one per place."""
        asked = list(zip(places, rules or [None] * len(places), strict=True))
        return pl.concat(self._room(asked, self._answered))

    def _answered(self, asked: Sequence[tuple[int, Rules | None]]) -> pl.DataFrame:
        places, rules = zip(*asked, strict=True)
        student, options = self.student, self.options
        items = [self.items[place] for place in places]
        said = say(
            student.model,
            student.codec,
            [self.prompts[place] for place in places],
            max_new_tokens=options.max_new_tokens,
            temperature=options.temperature,
            top_p=options.top_p,
            seed=[_seed(options.seed, item.id) for item in items],
            rules=None if None in rules else rules,
        )
        rows = zip(items, said, strict=True)
        return grading.frame([grading.graded(item, each, student.codec, student.scheme.arm) for item, each in rows])

    def in_order(self, answers: Iterable[pl.DataFrame]) -> pl.DataFrame:
        """Answers to all batches, in the items' order."""
        given = pl.concat(answers)
        order = pl.DataFrame({"id": [item.id for item in self.items]})
        return order.join(given, on="id", how="inner", maintain_order="left").select(given.columns)


def chosen(data: Data, options: AskingOptions) -> list[Item]:
    """The items of the splits asked for; with a limit, so many of each, spread evenly over it.

    Raises:
        UsageError: a split has none.
    """
    found: list[Item] = []
    for split in dict.fromkeys(options.splits):
        items = data.split(split)
        most = min(options.limit or len(items), len(items))
        found += [items[i * len(items) // most] for i in range(most)]
    return found


def _seed(seed: int, key: str) -> int:
    """Of a question's own draws, whatever is asked beside it."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{key}".encode()).digest()[:7])
