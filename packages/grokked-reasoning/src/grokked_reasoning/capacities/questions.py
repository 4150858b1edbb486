"""The questions of a world of profiles by hops and subject, and what there is to know in it."""

from typing import NamedTuple

import numpy as np
import polars as pl
from runkit import tables
from runkit.errors import UsageError

from grokked_reasoning.capacities.bits import Knowable
from grokked_reasoning.dataset import Data, Rows
from grokked_reasoning.tables import Facts
from grokked_reasoning.tracing.facts import FILE
from grokked_reasoning.worlds.people import ONE_HOP
from grokked_reasoning.worlds.people.chains import TRAINED as TWO_HOP
from grokked_reasoning.worlds.people.lists import RELATIONS
from grokked_reasoning.worlds.people.phrases import asked

KINDS = {ONE_HOP: "one-hop", TWO_HOP: "two-hop"}
"""Types of training rows that are asked, and what they are called."""


class Exam(NamedTuple):
    """All one- and two-hop questions among the training rows; their kind is the subject that is asked for."""

    data: Data
    world: Knowable
    questions: dict[str, Rows]

    @property
    def stored(self) -> float:
        """Two-hop questions per person and subject: how often a model that memorises them one by one stores a fact."""
        two_hop = self.questions["two-hop"]
        return len(two_hop) / (self.world.people * len(np.unique(two_hop.kinds)))


def exam(data: Data) -> Exam:
    """What can be asked of a model that was trained on this data.

    Raises:
        UsageError: it is no world of profiles.
    """
    if data.world.task != "profiles":
        raise UsageError(f"{data.folder} is a world of task {data.world.task}: bits are counted for --task profiles")
    found = {name: _by_subject(data.train.of(kind), data) for kind, name in KINDS.items()}
    return Exam(data, _knowable(data), {name: rows for name, rows in found.items() if len(rows)})


def _by_subject(rows: Rows, data: Data) -> Rows:
    strings = data.vocabulary.strings
    texts = ("".join([strings[each] for each in rows.prompt(i)]) for i in range(len(rows)))
    return Rows(rows.ids, rows.start, rows.length, np.array([asked(text).chain[-1] for text in texts]))


def _knowable(data: Data) -> Knowable:
    facts, told = tables.read(data.folder / FILE, Facts), data.world.facts
    people = facts["head"].n_unique()
    counted = facts.group_by("relation", maintain_order=True).agg(pl.col("tail").n_unique())
    values: dict[str, int] = {
        subject: people if subject in RELATIONS else count for subject, count in counted.iter_rows()
    }
    return Knowable(people, told["names"], told["days"], values, frozenset(RELATIONS))
