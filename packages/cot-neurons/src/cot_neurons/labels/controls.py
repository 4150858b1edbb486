"""Where there is nothing to label: decoy concepts, and lists of shuffled tokens. What a judge labels there is false."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from cot_neurons import tables
from cot_neurons.labels.matching import Lists

_ALIKE = 20  # tokens of most alike frequency, of which a decoy takes one at random


def decoys(of: Lists, concepts: Mapping[str, Sequence[int]], vocab: int, seed: int) -> dict[str, list[int]]:
    """For every concept as many tokens of none, each promoted by about as many neurons as the one it stands for."""
    random = np.random.default_rng((seed, 1))
    counts = np.bincount(of.ids[of.strengths > 0], minlength=vocab)
    others = np.setdiff1d(np.arange(vocab), [i for ids in concepts.values() for i in ids])
    made: dict[str, list[int]] = {}
    for name, ids in concepts.items():
        made[f"decoy-{name}"] = chosen = []
        for token_id in ids[: len(others)]:
            at = random.choice(_nearest(counts[others], counts[token_id], random))
            chosen.append(int(others[at]))
            others = np.delete(others, at)
    return {name: sorted(ids) for name, ids in made.items() if ids}


def _nearest(counts: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """Places of the counts nearest to `count`, ties broken at random."""
    distance = np.abs(counts - count) + random.random(len(counts)) / 2
    return np.argpartition(distance, min(_ALIKE, len(counts)) - 1)[:_ALIKE]


def shuffled(of: Lists, seed: int) -> Lists:
    """The same lists with other tokens at their places: drawn anew, without repeats, from all that any list names."""
    random = np.random.default_rng((seed, 2))
    pool = np.unique(of.ids)
    ids = np.stack([random.choice(pool, of.ids.shape[1], replace=False) for _ in range(len(of.ids))])
    return Lists(ids, of.strengths)


def table(judge: str, counts: Mapping[str, tuple[int, int]]) -> pl.DataFrame:
    """The table `controls` of one judge, from how many lists were judged and how many of them labelled."""
    rows = [
        (judge, control, asked, labelled, labelled / asked if asked else None)
        for control, (asked, labelled) in counts.items()
    ]
    return pl.DataFrame(rows, tables.columns(tables.Controls), orient="row")
