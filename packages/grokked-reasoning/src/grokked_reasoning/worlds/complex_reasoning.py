"""The task complex reasoning (paper, section 5): comparisons of entities whose values are told nowhere.

OOD atomic facts are not in training; comparisons of an OOD entity with an ID one are.
"""

from functools import partial

import numpy as np
from jaxtyping import Int
from runkit.errors import UsageError

from grokked_reasoning.options import MakeOptions
from grokked_reasoning.profiles import World
from grokked_reasoning.worlds import hard
from grokked_reasoning.worlds.attributes import LABELS, Pairs, Values, Wording, split, values
from grokked_reasoning.worlds.comparison import label_or_value, parted
from grokked_reasoning.worlds.kinds import Kind, gathered, some
from grokked_reasoning.worlds.made import Made, stream

WORDING = Wording("<q><e_{}><attr_{}><mask></q>", "<attr_{}><q><e_{}><mask><e_{}></q>", "<a>")
HARD = 50
"""Most rows of test_hard with each label."""


def make(options: MakeOptions, size: World) -> Made:
    """The world. Training: ID atomic facts, and `share` of the comparisons with an ID entity.

    Raises:
        UsageError: sizes that make no such world; says which option to change.
    """
    world = values(options, size)
    pairs = split(world)
    told = {name: partial(world.compared, WORDING, each) for name, each in pairs.items()}
    pool, held = parted(pairs["id"], options, size)
    cross = pairs["mixed"].all()
    stream(options.seed, "cross pool").shuffle(cross)
    inside, across = (each[: round(size.share * len(each))] for each in (pool, cross))
    known, unknown = world.atomic(WORDING)
    learned = [
        known,
        Kind("train_inferred_topleft", inside, told["id"], shuffled=True),
        Kind("train_inferred_cross", across, told["mixed"], shuffled=True),
    ]
    found = hard.pairs(world, pairs["ood"], pairs["mixed"].find(across), pairs["id"].find(inside))
    unseen = [
        Kind("test_inferred_ood", pairs["ood"].all(), told["ood"]),
        Kind("test_inferred_iid", held, told["id"]),
        unknown,
        Kind("test_hard", _chosen(world, pairs["ood"], found, options, size), told["ood"]),
    ]
    pools = {"pool_topleft": len(pool), "pool_cross": len(cross), "hard": len(found)}
    return gathered(
        learned,
        unseen,
        size.probes,
        options.seed,
        label_or_value,
        vocabulary=world.vocabulary(),
        facts=world.frame(),
        id=("test_inferred_iid",),
        ood=("test_inferred_ood", "test_hard"),
        counts=world.counts() | pools | {each.name: len(each.numbers) for each in unseen},
    )


def _chosen(
    world: Values, pairs: Pairs, found: Int[np.ndarray, " n"], options: MakeOptions, size: World
) -> Int[np.ndarray, " k"]:
    """At most `HARD` of the hard pairs of each label.

    Raises:
        UsageError: there is none.
    """
    if not len(found):
        raise UsageError(
            "test_hard would be empty: no pair of OOD entities takes ID facts and comparisons both; change --share "
            f"{size.share:g} (with many comparisons they decide alone, with few nothing does), or raise --entities"
        )
    label = world.label(*pairs.find(found))
    random = stream(options.seed, "hard")
    return np.concatenate([some(found[label == each], HARD, random) for each in range(LABELS)])
