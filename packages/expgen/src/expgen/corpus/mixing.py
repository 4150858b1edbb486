"""Which documents go into which split, and how many sequences of each source are taken."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from expgen.tables import SPLITS


def apportioned(total: int, weights: Sequence[float]) -> list[int]:
    """Whole numbers that sum to `total`, each less than one away from its weight's part (largest remainders)."""
    exact: Float[np.ndarray, " n"] = np.round(total * np.array(weights) / sum(weights), 9)
    parts = np.floor(exact).astype(int)
    order = np.argsort(-(exact - parts), kind="stable")
    parts[order[: total - parts.sum()]] += 1
    return parts.tolist()


def splits(documents: int, shares: Sequence[float], seed: Sequence[int]) -> Int[np.ndarray, " documents"]:
    """The number of each document's split: shuffled, then shared out."""
    order = np.random.default_rng(seed).permutation(documents)
    split = np.empty(documents, int)
    split[order] = np.repeat(np.arange(len(SPLITS)), apportioned(documents, shares))
    return split


def quotas(available: Sequence[int], ratios: Sequence[float], limit: int | None) -> list[int]:
    """How many sequences of each source are taken: as many as the scarcest source allows, all without `ratios`."""
    most = sum(available)
    if ratios:
        most = min(int(n * sum(ratios) / ratio + 1e-9) for n, ratio in zip(available, ratios, strict=True))
    return apportioned(min(most, limit or most), ratios or available)


def drawn(frame: pl.DataFrame, quotas: Sequence[int], seed: int) -> pl.DataFrame:
    """Of each source its quota of the sequences (columns `source`, `split`), of its splits alike; order is kept."""
    kept: list[int] = []
    numbered = frame.with_row_index("at")
    for source, quota in enumerate(quotas):
        places = [numbered.filter(source=source, split=split)["at"].to_numpy() for split in range(len(SPLITS))]
        counts = apportioned(quota, [len(each) for each in places]) if quota else [0] * len(SPLITS)
        for split, (there, count) in enumerate(zip(places, counts, strict=True)):
            rng = np.random.default_rng([seed, source, split])
            kept += rng.choice(there, count, replace=False).tolist() if count else []
    return frame[sorted(kept)]
