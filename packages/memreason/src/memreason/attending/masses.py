"""From sums over tokens to the tables: mass by class against its null, entropy, and mass from step to step."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

from memreason import tables
from memreason.attending.classing import Classed, Evenly, evenly_by_step
from memreason.attending.drawn import QUESTION, Drawn
from memreason.scheme import ANSWER

_ROUNDING = 1e-5


def mass_table(
    mass: Float[np.ndarray, "L draws H C C"], even: Evenly, names: Sequence[str], layers: Sequence[int]
) -> pl.DataFrame:
    """Table `mass`. A shuffle moves tokens to where other amounts of attention may reach them, so what counts of it is
    its mass over its own `uniform`; `null` is that times the `uniform` of the places as they are."""
    queries = np.maximum(even.queries, 1)[:, None]
    uniform = even.mass[0] / queries
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = np.nan_to_num(mass[:, 1:] / even.mass[1:, None])
    seen, null = mass[:, 0] / queries, uniform * ratios.mean(axis=1)
    spread = uniform * ratios.std(axis=1, ddof=1)
    spread = np.where(spread > _ROUNDING * null, spread, 0)
    z = np.divide(seen - null, spread, out=np.full_like(seen, np.nan), where=spread > 0)
    where = np.indices(seen.shape)
    layer, head, query, key = (each.ravel() for each in where)
    found = pl.DataFrame(
        {
            "layer": np.array(layers)[layer],
            "head": head,
            "query": np.array(names)[query],
            "key": np.array(names)[key],
            "n": even.queries[query],
            "mass": seen.ravel(),
            "uniform": np.broadcast_to(uniform, seen.shape).ravel(),
            "null": null.ravel(),
            "null_std": spread.ravel(),
            "z": z.ravel(),
        }
    )
    return found.with_columns(pl.col("z").fill_nan(None)).cast(pl.Schema(tables.columns(tables.Mass)))


def entropy_table(
    entropy: Float[np.ndarray, "L H C"], even: Evenly, names: Sequence[str], layers: Sequence[int]
) -> pl.DataFrame:
    """Table `entropies`."""
    queries = np.maximum(even.queries, 1)
    layer, head, query = (each.ravel() for each in np.indices(entropy.shape))
    return pl.DataFrame(
        {
            "layer": np.array(layers)[layer],
            "head": head,
            "query": np.array(names)[query],
            "n": even.queries[query],
            "entropy": np.maximum(entropy / queries, 0).ravel(),
            "uniform": (even.entropy / queries)[query],
        }
    ).cast(pl.Schema(tables.columns(tables.Entropies)))


def step_table(
    found: Sequence[Drawn], told: Sequence[Classed], steps: Sequence[Float[np.ndarray, "S S"]]
) -> pl.DataFrame:
    """Table `steps`: means over all query tokens of the steps that have this place and kind."""
    sums: dict[tuple[Any, ...], Float[np.ndarray, " 3"]] = defaultdict(lambda: np.zeros(3))
    for each, numbers, mass in zip(found, told, steps, strict=True):
        kinds = (QUESTION, *each.item.trace.kinds(), ANSWER)
        places = [*range(len(kinds) - 1), -1]
        tokens, even = np.bincount(numbers.segments[numbers.segments >= 0]), evenly_by_step(numbers)
        for q, k in zip(*np.tril_indices(len(kinds)), strict=True):
            pair = (places[q], places[k], kinds[q], kinds[k])
            sums[pair] += tokens[q], mass[q, k], even[q, k]
    rows = [(*pair, n, mass / n, uniform / n) for pair, (n, mass, uniform) in sorted(sums.items())]
    return pl.DataFrame(rows, schema=tables.columns(tables.StepMass), orient="row", strict=False)
