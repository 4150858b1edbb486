"""What the stages read from each other, checked: tables of the model under study and no other."""

from collections.abc import Mapping

import polars as pl
from runkit import refs
from runkit.errors import UsageError
from runkit.options import flag
from runkit.tables import Schema, read, refuse_strangers

from cot_neurons import tables
from cot_neurons.options import ITEMS, LABELS, NEURONS
from cot_neurons.subject import Subject


def items(text: str, subject: Subject, option: str = "items") -> pl.DataFrame:
    """The items that a run of `infer` answered. Raises UsageError where another model answered them."""
    return _of(subject, option, text, ITEMS, tables.Items)


def neurons(text: str, subject: Subject) -> pl.DataFrame:
    """The neurons that a run of `discover` found. Raises UsageError where they are another model's."""
    return _of(subject, "neurons", text, NEURONS, tables.Neurons)


def labels(text: str, subject: Subject) -> pl.DataFrame:
    """The labels that a run of `label` gave.

    Raises UsageError where they are another model's, or name a neuron that this one does not have.
    """
    found = _of(subject, "labels", text, LABELS, tables.Labels)
    dims = subject.model.dims
    refuse_strangers(found, f"--labels {text}", subject.name, dims.layers, dims.d_mlp)
    return found


def _of(subject: Subject, option: str, text: str, origin: Mapping[str, str], schema: Schema) -> pl.DataFrame:
    frame = read(refs.resolve(text, **origin), schema)
    stage = origin["stage"].partition(".")[2]
    if frame.is_empty():
        raise UsageError(f"{flag(option)} {text} holds no rows: look at that run of {stage} first")
    others = set(frame["model"].unique()) - {subject.name}
    if others:
        raise UsageError(
            f"{flag(option)} {text} is of {min(others)!r}, not of {subject.name!r}: "
            f"run {stage} with this --model first, or name that run in {flag(option)}"
        )
    return frame
