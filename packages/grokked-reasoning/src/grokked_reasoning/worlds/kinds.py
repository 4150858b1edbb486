"""Rows of one type, kept as numbers until they are asked for, so that millions of them cost little."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from jaxtyping import Int

from grokked_reasoning.worlds.made import Made, Row, chance, stream

Text = tuple[str, str]
"""Prompt and answer."""
_AT_ONCE = 1 << 16  # rows turned into text together


@dataclass(frozen=True)
class Kind:
    """Rows of the type `name`: `numbers` says which, `text` what they say.

    shuffled: the numbers are the beginning of a random order, which is the same however many of them are taken.
    """

    name: str
    numbers: Int[np.ndarray, " n"]
    text: Callable[[Int[np.ndarray, " k"]], Iterable[Text]]
    shuffled: bool = False

    def rows(self, numbers: Int[np.ndarray, " k"] | None = None) -> Iterator[Row]:
        """All rows, or some of them, in order."""
        wanted = self.numbers if numbers is None else numbers
        for start in range(0, len(wanted), _AT_ONCE):
            for prompt, answer in self.text(wanted[start : start + _AT_ONCE]):
                yield Row(prompt, answer, self.name)

    def probes(self, most: int, seed: int) -> Iterator[Row]:
        """At most so many rows for the test. Of shuffled ones the first, which are the same for every phi."""
        if self.shuffled:
            return self.rows(self.numbers[:most])
        return self.rows(some(self.numbers, most, stream(seed, f"probes {self.name}")))


def some(numbers: Int[np.ndarray, " n"], most: int, random: np.random.Generator) -> Int[np.ndarray, " k"]:
    """At most `most` of the numbers, at random; all of them, in order, where there are no more."""
    return numbers if len(numbers) <= most else random.choice(numbers, most, replace=False)


def gathered(
    learned: Sequence[Kind],
    unseen: Sequence[Kind],
    most: int,
    seed: int,
    said: Callable[[str], str] = str,
    **told: Any,
) -> Made:
    """The world of these kinds: training rows, and at most `most` probes of every kind, learned or not.

    said: what an answer says, for the accuracy by chance. told: the other fields of `Made`.
    """
    test = [row for kind in (*learned, *unseen) for row in kind.probes(most, seed)]
    return Made(
        train=chain.from_iterable(kind.rows() for kind in learned),
        test=test,
        trained=tuple(kind.name for kind in learned if len(kind.numbers)),
        chance=chance(test, said),
        **told,
    )
