"""Of two models side by side, the rows that tables have: a neuron after the other, each with both polarities."""

from collections.abc import Mapping

import actkit
import numpy as np
import polars as pl
import torch
from jaxtyping import Int, Shaped
from runkit.tables import columns
from torch import Tensor

from grokked_reasoning import tables
from grokked_reasoning.emerging import beside
from grokked_reasoning.emerging.beside import POLARITIES, Moments


def course(
    found: Mapping[int, Moments],
    model: actkit.Model,
    finished: actkit.Model,
    others: Mapping[int, Int[Tensor, " N"]],
    named: Mapping[str, str | int],
) -> pl.DataFrame:
    """tables.Course of one checkpoint. `named`: its `step`, and the finished model's name as `model`."""
    made = []
    for layer, moments in found.items():
        own, strange = (torch.stack([each, each]) for each in beside.writing(model, finished, layer, others[layer]))
        values = {
            "alike": moments.alike(), "writes": own, "strange_alike": moments.strange(), "strange_writes": strange,
        }  # fmt: skip
        made.append(_keyed(layer, len(others[layer])).with_columns(**{name: _flat(x) for name, x in values.items()}))
    frame = pl.concat(made).with_columns(**{name: pl.lit(value) for name, value in named.items()})
    shaped = (pl.col(name).cast(kind) for name, kind in columns(tables.Course).items())
    return frame.select(shaped).fill_nan(None)


def portrait(found: Mapping[int, Moments]) -> pl.DataFrame:
    """Of the finished model beside itself: `active`, share of tokens at which it fires, and `silent`: it does not
    vary."""
    parts = [
        pl.DataFrame({"active": _flat(each.active()), "silent": _flat(each.alike().isnan())}) for each in found.values()
    ]
    return pl.concat(parts)


def _keyed(layer: int, neurons: int) -> pl.DataFrame:
    each = np.arange(neurons).repeat(len(POLARITIES))
    return pl.DataFrame({"layer": np.full(len(each), layer), "neuron": each, "polarity": POLARITIES * neurons})


def _flat(values: Shaped[Tensor, "2 N"]) -> Shaped[np.ndarray, " rows"]:
    return values.T.reshape(-1).cpu().numpy()
