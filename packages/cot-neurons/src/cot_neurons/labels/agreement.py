"""How far two judges agree beyond chance."""

from collections.abc import Sequence

import polars as pl
from runkit.tables import NEURON_KEY

from cot_neurons import tables


def agreement(one: pl.DataFrame, other: pl.DataFrame, concepts: Sequence[str]) -> pl.DataFrame:
    """The table `agreement` of two judges' verdicts, over the neurons on which both of them have an opinion."""
    opinion = pl.col("status").is_in(["labelled", "none"])
    both = one.filter(opinion).join(other.filter(opinion), on=NEURON_KEY, suffix="_other")
    judges = (one["judge"][0], other["judge"][0]) if len(one) and len(other) else ("", "")
    rows = []
    for concept in concepts:
        first, second = pl.col("concepts").list.contains(concept), pl.col("concepts_other").list.contains(concept)
        counts = both.select(
            both=(first & second).sum(), one=(first & ~second).sum(), other=(~first & second).sum(),
            neither=(~first & ~second).sum(),
        ).row(0)  # fmt: skip
        rows.append((concept, *judges, *counts, kappa(*counts)))
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
