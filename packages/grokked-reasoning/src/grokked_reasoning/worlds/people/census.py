"""People: names, what is true of each, and whom each knows."""

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

import numpy as np
import polars as pl
from jaxtyping import Int
from runkit.errors import UsageError

from grokked_reasoning.worlds.made import stream
from grokked_reasoning.worlds.people.lists import (
    CITIES,
    DAYS,
    EMPLOYERS,
    FIRST_DAY,
    GIVEN,
    LAST,
    NAMES,
    PROPERTIES,
    RELATIONS,
    SUBJECTS,
    UNIVERSITIES,
)

_POOLS = {"birth_city": CITIES, "university": UNIVERSITIES, "employer": EMPLOYERS}


@dataclass(frozen=True)
class Census:
    """N people. `knows[p, r]` is the person who is relation r of person p, maybe p."""

    names: list[str]
    knows: Int[np.ndarray, "N 17"]
    properties: dict[str, list[str]]

    @classmethod
    def draw(cls, people: int, seed: int) -> "Census":
        """Names without replacement; everything else uniform and independent, birth dates over every day there is
        (the reference clamps the day to 28, which makes its dates neither uniform nor as many as it counts).

        Raises:
            UsageError: more people than names.
        """
        if people > NAMES:
            raise UsageError(f"--entities {people}: there are names for {NAMES} people")
        picked = stream(seed, "names").choice(NAMES, people, replace=False)
        knows = stream(seed, "relations").integers(people, size=(people, len(RELATIONS)), dtype=np.int32)
        return cls([_name(each) for each in picked.tolist()], knows, _properties(people, seed))

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def answers(self) -> list[list[str]]:
        """answers[a][p]: what subject a of person p is."""
        known = [[self.names[other] for other in column] for column in self.knows.T.tolist()]
        return known + [self.properties[name] for name in PROPERTIES]

    def facts(self) -> pl.DataFrame:
        """One row per person and subject (tables.Facts)."""
        people, subjects = len(self), len(SUBJECTS)
        told = {
            "head": [name for name in self.names for _ in SUBJECTS],
            "relation": list(SUBJECTS) * people,
            "tail": [self.answers[a][p] for p in range(people) for a in range(subjects)],
        }
        return pl.DataFrame(told).with_columns(split=pl.lit("id"))


def _name(number: int) -> str:
    rest, last = divmod(number, len(LAST))
    first, middle = divmod(rest, len(GIVEN))
    return f"{GIVEN[first]} {GIVEN[middle]} {LAST[last]}"


def _properties(people: int, seed: int) -> dict[str, list[str]]:
    days = stream(seed, "birth_date").integers(DAYS, size=people).tolist()
    born = [(FIRST_DAY + timedelta(days=day)).isoformat() for day in days]
    drawn = {
        name: [pool[i] for i in stream(seed, name).integers(len(pool), size=people).tolist()]
        for name, pool in _POOLS.items()
    }
    return {"birth_date": born} | drawn
