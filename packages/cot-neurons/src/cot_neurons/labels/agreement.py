"""How far two judges agree beyond chance."""

from collections.abc import Mapping, Sequence

import polars as pl
from runkit.tables import NEURON_KEY

from cot_neurons import tables


def agreement(verdicts: Mapping[str, pl.DataFrame], concepts: Sequence[str]) -> pl.DataFrame:
    """The table `agreement` of two judges, from their verdicts by name, on the neurons that both gave one for."""
    (judge, one), (other, two) = verdicts.items()
    given = pl.col("status").is_in(["labelled", "none"])
    shared = one.filter(given).join(two.filter(given), on=NEURON_KEY, suffix="_other")
    rows = []
    for concept in concepts:
        yes, also = (pl.col(column).list.contains(concept) for column in ("concepts", "concepts_other"))
        counts = shared.select(
            both=(yes & also).sum(), judge=(yes & ~also).sum(), other=(~yes & also).sum(), neither=(~yes & ~also).sum()
        ).row(0)
        rows.append((concept, judge, other, *counts, kappa(*counts)))
    return pl.DataFrame(rows, tables.columns(tables.Agreement), orient="row")


def kappa(both: int, only_one: int, only_other: int, neither: int) -> float | None:
    """Cohen's kappa (1960): agreement beyond chance, as a share of what chance leaves.

    None where a judge says the same of all neurons: then chance leaves nothing, or nothing to tell.
    """
    n = both + only_one + only_other + neither
    one, other = both + only_one, both + only_other
    if one in (0, n) or other in (0, n):
        return None
    chance = (one * other + (n - one) * (n - other)) / n**2
    return ((both + neither) / n - chance) / (1 - chance)
