"""What others said of the same neurons: labels of cot-neurons, descriptions of expgen, read as tables."""

import polars as pl
from actkit import Model
from runkit import refs
from runkit.errors import UsageError
from runkit.options import flag, origin
from runkit.tables import NEURON_KEY, Schema, read, refuse_strangers

from memreason import tables
from memreason.options import NeuronsOptions

_NEURONS = "mlp_post"


def said(options: NeuronsOptions, model: Model, name: str) -> pl.DataFrame:
    """One row per neuron and polarity of which something was said: `label` (its concepts), `description`.

    Raises:
        UsageError: a table is of another model, or names neurons that this one does not have.
        DataError: a table is damaged, or lacks a column.
    """
    labels = _read(options, "labels", tables.NeuronLabels, model, name)
    described = _read(options, "descriptions", tables.NeuronDescriptions, model, name).filter(source=_NEURONS)
    concepts = labels.group_by(*NEURON_KEY).agg(label=pl.col("concept").unique().sort().str.join(", "))
    words = described.group_by(*NEURON_KEY).agg(description=pl.col("description").sort().first())
    return concepts.join(words, on=NEURON_KEY, how="full", coalesce=True)


def _read(options: NeuronsOptions, option: str, schema: Schema, model: Model, name: str) -> pl.DataFrame:
    text = getattr(options, option)
    columns = tables.columns(schema)
    if text is None:
        return pl.DataFrame(schema=columns)
    frame = read(refs.resolve(text, **origin(options, option)), schema).select(*columns)
    if others := set(frame["model"].unique()) - {name}:
        raise UsageError(
            f"{flag(option)} {text} is of {min(others)!r}, not of {name!r}: make them for this --model first"
        )
    refuse_strangers(frame, f"{flag(option)} {text}", name, model.dims.layers, model.dims.d_mlp)
    return frame
