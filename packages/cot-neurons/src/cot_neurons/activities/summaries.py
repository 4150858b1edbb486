"""From what each item's chain did to means per group with intervals, and to correlations with being right."""

from collections.abc import Iterator, Mapping

import numpy as np
import polars as pl
from jaxtyping import Float

from cot_neurons import statistics, tables

MEASURES = ("active", "strength")
GROUPS = {"all": pl.lit(True), "right": pl.col("right"), "wrong": ~pl.col("right")}
_FEWEST_VARIANTS = 3  # two points always lie on a line


def accuracies(variants: Mapping[str, pl.DataFrame]) -> dict[str, float]:
    """Share of each variant's items whose stated answer is right."""
    return {name: float(np.mean(items["correct_strict"].to_numpy())) for name, items in variants.items()}


def with_all_tags(items: pl.DataFrame) -> pl.DataFrame:
    """Table `item_activity` with lines of tag "all" on top: means over all steps of an item."""
    weighted = (pl.col(measure).dot(pl.col("steps")) / pl.col("steps").sum() for measure in MEASURES)
    whole = items.group_by("variant", "row", "right", "concept", maintain_order=True).agg(pl.sum("steps"), *weighted)
    return pl.concat([whole.select(pl.lit("all").alias("tag"), pl.all()).select(items.columns), items])


def activity(items: pl.DataFrame, accuracy: Mapping[str, float], seed: int) -> pl.DataFrame:
    """Means over items, per variant, concept, tag and group of items, with intervals. `items`: `with_all_tags`."""
    lines: list[dict[str, object]] = []
    for (variant, tag), some in items.partition_by("variant", "tag", as_dict=True, maintain_order=True).items():
        for group, chosen in GROUPS.items():
            found = _means(some.filter(chosen), seed)
            head = {"variant": variant, "accuracy": accuracy[str(variant)], "tag": tag, "group": group}
            lines += [head | {"concept": concept, **_means_of_none()} | found.get(concept, {}) for concept in
                      some["concept"].unique().sort()]  # fmt: skip
    return pl.DataFrame(lines, schema=tables.columns(tables.Activity))


def _means(items: pl.DataFrame, seed: int) -> dict[str, dict[str, object]]:
    """Concept -> items, mean and interval of both measures. All concepts have the same items: one draw serves all."""
    if items.is_empty():
        return {}
    concepts = items["concept"].unique().sort().to_list()
    values = items.sort("concept", "row").select(MEASURES).to_numpy().reshape(len(concepts), -1, len(MEASURES))
    values = values.swapaxes(0, 1)  # items, concepts, measures
    means, (low, high) = values.mean(axis=0), statistics.intervals(values, seed=seed)
    return {concept: {"items": len(values)} | _ends(means[i], low[i], high[i]) for i, concept in enumerate(concepts)}


def _ends(
    mean: Float[np.ndarray, " m"], low: Float[np.ndarray, " m"], high: Float[np.ndarray, " m"]
) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, *values in zip(MEASURES, mean, low, high, strict=True):
        told = (float(value) if np.isfinite(value) else None for value in values)
        found |= dict(zip((name, f"{name}_low", f"{name}_high"), told, strict=True))
    return found


def _means_of_none() -> dict[str, object]:
    return {"items": 0, **{f"{name}{end}": None for name in MEASURES for end in ("", "_low", "_high")}}


def correlations(items: pl.DataFrame, variants: Mapping[str, pl.DataFrame], seed: int) -> pl.DataFrame:
    """How the concepts' activity goes with accuracy over variants, and with being right over each variant's items."""
    whole = items.filter(tag="all")
    return pl.DataFrame(list(_correlations(whole, variants, seed)), schema=tables.columns(tables.Correlations))


def _correlations(items: pl.DataFrame, variants: Mapping[str, pl.DataFrame], seed: int) -> Iterator[dict[str, object]]:
    for (concept,), some in items.partition_by("concept", as_dict=True, maintain_order=True).items():
        for measure in MEASURES:
            head = {"concept": concept, "measure": measure}
            yield head | {"level": "variants"} | _over_variants(_by_item(some, variants, measure), seed)
            for variant in variants:
                there = some.filter(variant=variant).sort("row")
                pairs = there.select(measure, pl.col("right").cast(pl.Float64)).to_numpy()
                yield head | {"level": variant} | _over_items(pairs, seed)


def _over_items(pairs: Float[np.ndarray, "n 2"], seed: int) -> dict[str, object]:
    r, rho = (statistics.number(pairs, each) for each in (statistics.pearson, statistics.spearman))
    low, high = statistics.interval(pairs, statistics.pearson, seed)
    return {"n": len(pairs), "r": r, "r_low": low, "r_high": high, "rho": rho}


def _by_item(items: pl.DataFrame, variants: Mapping[str, pl.DataFrame], measure: str) -> Float[np.ndarray, "n 3 V"]:
    """Per item and variant: the measure (0 where nothing was written), whether something was, whether it is right."""
    columns: list[np.ndarray] = []
    for name, answered in variants.items():
        there = answered.select("row", "correct_strict").join(
            items.filter(variant=name).select("row", measure), on="row", how="left", maintain_order="left"
        )
        value = there[measure]
        columns.append(np.stack([value.fill_null(0), value.is_not_null(), there["correct_strict"]], axis=1))
    return np.stack(columns, axis=2).astype(float)


def _over_variants(values: Float[np.ndarray, "n 3 V"], seed: int) -> dict[str, object]:
    """Correlation of the variants' means. Its interval draws both variants and items; null for fewer than three."""
    count = values.shape[2]
    random = np.random.default_rng([seed, 1])

    def as_they_are(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return statistics.correlation(*_variant_means(values, weights), np.ones((len(weights), count)))

    def drawn(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
        chosen = statistics.drawn(random, count, len(weights))
        r = statistics.correlation(*_variant_means(values, weights), chosen)
        return np.where((chosen > 0).sum(axis=1) >= _FEWEST_VARIANTS, r, np.nan)

    if count < _FEWEST_VARIANTS:
        return {"n": count, "r": None, "r_low": None, "r_high": None, "rho": None}
    means = np.stack(_variant_means(values, np.ones((1, len(values)))), axis=2)[0]
    low, high = statistics.interval(values, drawn, seed)
    r, rho = statistics.number(values, as_they_are), statistics.number(means, statistics.spearman)
    return {"n": count, "r": r, "r_low": low, "r_high": high, "rho": rho}


def _variant_means(
    values: Float[np.ndarray, "n 3 V"], weights: Float[np.ndarray, "draws n"]
) -> tuple[Float[np.ndarray, "draws V"], Float[np.ndarray, "draws V"]]:
    """Mean activity of the items that wrote something, and accuracy of all, per draw and variant."""
    return statistics.ratio(values[:, :2], weights), statistics.mean(values[:, 2], weights)
