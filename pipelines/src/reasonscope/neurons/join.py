"""All that is said of each neuron, in one row."""

from collections.abc import Iterator
from functools import reduce

import polars as pl
from cot_neurons import tables as cot
from cot_neurons.ablation.cases import OPERATOR_OF
from grokked_reasoning import tables as grokked
from grokked_reasoning.emerging.numbers import ONSETS
from memreason import tables as recalled
from runkit.tables import NEURON_KEY

from reasonscope.neurons import tables
from reasonscope.neurons.concepts import Known, about, at_peaks
from reasonscope.neurons.found import Ablation, Reader

_KEY = list(NEURON_KEY)
_PROMOTED = 8
_FAIR = ["random", "matched"]


def joined(reader: Reader, known: Known) -> pl.DataFrame:
    """Table `neurons`. Raises UsageError and DataError as `Reader.table` does."""
    sources = list(_sources(reader, known))
    keys = pl.concat([each.select(_KEY) for each in sources]).unique()
    whole = reduce(lambda left, right: left.join(right, on=_KEY, how="left"), sources, keys)
    columns = whole.collect_schema().names()
    missing = [pl.lit(None, kind).alias(name) for name, kind in _columns().items() if name not in columns]
    return whole.with_columns(missing).select(*_columns()).sort(_KEY).collect(engine="streaming")


def _columns() -> dict[str, pl.DataType]:
    """With the inner types of lists."""
    return {name: each.dtype.type for name, each in tables.Neurons.to_schema().columns.items()}


def _sources(reader: Reader, known: Known) -> Iterator[pl.LazyFrame]:
    """A frame for each run, keyed by neuron and polarity."""
    if (neurons := reader.table("neurons", "neurons", cot.Neurons)) is not None:
        yield neurons.lazy().select(
            *_KEY, "hits", "hit_rate", "mean_score", "focus", pl.col("promotes").list.head(_PROMOTED)
        )
    if (labels := reader.table("labels", "labels", cot.Labels)) is not None:
        yield _labelled(labels.lazy())
    if runs := reader.ablations():
        yield _ablated(runs, reader.model.name)
    if (counted := reader.table("attribution", "attributions", cot.Attributions)) is not None:
        yield _attributed(counted.lazy())
    if (best := reader.best()) is not None:
        yield _described(best, known)
    if (exemplars := reader.exemplars()) is not None and known.tokens:
        yield at_peaks(exemplars, known.tokens).lazy()
    if (fired := reader.table("selectivity", "neurons", recalled.Neurons)) is not None:
        yield fired.lazy().select(*_KEY, "selective", memory_auroc="auroc", memory_p="p")
    if (grown := reader.table("emergence", "emergence", grokked.Emergence)) is not None:
        yield grown.lazy().select(*_KEY, *ONSETS, emerged="status")


def _labelled(labels: pl.LazyFrame) -> pl.LazyFrame:
    """Concepts of any judge; the numbers are those of the label with the best score."""
    ranked = labels.sort("score", "concept", "judge", descending=[True, False, False])
    return ranked.group_by(_KEY).agg(
        pl.col("concept").unique().sort().alias("concepts"),
        pl.col("score").first().alias("label_score"),
        pl.col("auroc", "specific_auroc").first(),
        pl.col("validated").max(),
    )


def beaten(tests: pl.DataFrame) -> pl.DataFrame:
    """What ablating a concept's neurons did to the log-odds of its own operator's equations: concept, amount, change,
    and of each kind of fair control draws, `worse_than` the share that hurt less."""
    own = pl.concat_str(pl.lit("odds "), pl.col("concept").replace_strict(OPERATOR_OF, default=None))
    return tests.filter(pl.col("metric") == own, pl.col("control").is_in(_FAIR))


def _ablated(runs: list[Ablation], model: str) -> pl.LazyFrame:
    """Both polarities of every neuron that was ablated, by the concept whose equations that hurt most."""
    found = [
        each.targets.join(each.conditions.select("condition", "amount"), on="condition").join(
            beaten(each.tests).group_by("concept", "amount").agg(pl.col("change").first(), pl.col("worse_than").min()),
            on=["concept", "amount"],
            how="left",
        )
        for each in runs
    ]
    rows = pl.concat(found).lazy().sort("change", "concept", nulls_last=True)
    each = rows.group_by("layer", "neuron").agg(
        pl.col("concept").unique().sort().alias("ablated_for"),
        pl.col("change").first().alias("ablation_change"),
        pl.col("worse_than").first().alias("ablation_beats"),
    )
    polarities = pl.LazyFrame({"model": [model] * 2, "polarity": ["+", "-"]})
    return each.join(polarities, how="cross")


def _attributed(counted: pl.LazyFrame) -> pl.LazyFrame:
    """The kind of token whose log-probability a neuron raises most, over all items."""
    ranked = counted.filter(pl.col("group") == "all").drop_nulls("logp").sort("logp", "kind", descending=[True, False])
    return ranked.group_by(_KEY).agg(pl.col("kind").first().alias("attribution_kind"), pl.col("logit", "logp").first())


def _described(best: pl.DataFrame, known: Known) -> pl.LazyFrame:
    told = [about(each, known.words) for each in best["description"]]
    return best.lazy().select(
        *_KEY, "description", "scorer", "null_other", "null_lookup", score="value", score_low="low", score_high="high"
    ).with_columns(pl.Series("about", told, pl.List(pl.String)))  # fmt: skip
