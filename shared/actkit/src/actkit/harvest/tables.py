"""Results of reducers as long tables: one row per unit and whatever the reducer has several of."""

from collections.abc import Callable
from typing import Any

import polars as pl
import torch
from torch import Tensor

Result = dict[str, Tensor]


def _topk(result: Result, settings: dict[str, Any]) -> pl.DataFrame:
    """Columns: pole, unit, rank (from 1), value, row, position; sorted by unit and pole, strongest first."""
    poles = ["+", "-"] if settings["poles"] == "both" else [settings["poles"]]
    entries = {name: x for name, x in result.items() if name != "around"}
    found = {name: x.reshape(len(poles), -1, settings["k"]).transpose(0, 1) for name, x in entries.items()}
    units, _, k = found["values"].shape
    return pl.DataFrame(
        {
            "pole": poles * units,
            "unit": torch.arange(units).repeat_interleave(len(poles)).numpy(),
        }
    ).select(
        pl.all().repeat_by(k).explode(),
        rank=pl.Series(torch.arange(1, k + 1).repeat(units * len(poles)).numpy()),
        value=pl.Series(found["values"].flatten().numpy()),
        row=pl.Series(found["rows"].flatten().numpy()),
        position=pl.Series(found["positions"].flatten().numpy()),
    )


def _moments(result: Result, _settings: dict[str, Any]) -> pl.DataFrame:
    """Columns: unit, count, mean and, of moments, variance, min, max."""
    columns = {name: result[name].numpy() for name in ("mean", "variance", "min", "max") if name in result}
    units = len(result["mean"])
    return pl.DataFrame({"unit": range(units), "count": [int(result["count"])] * units, **columns})


def _histogram(result: Result, _settings: dict[str, Any]) -> pl.DataFrame:
    """Columns: unit, low (included), high (excluded), count; the outermost bins are open."""
    counts, edges = result["counts"], result["edges"]
    units, bins = counts.shape
    end = torch.tensor([torch.inf], dtype=edges.dtype)
    return pl.DataFrame(
        {
            "unit": torch.arange(units).repeat_interleave(bins).numpy(),
            "low": torch.cat([-end, edges]).repeat(units).numpy(),
            "high": torch.cat([edges, end]).repeat(units).numpy(),
            "count": counts.flatten().numpy(),
        }
    )


def _sparse(result: Result, _settings: dict[str, Any]) -> pl.DataFrame:
    """Columns: row, position, unit, value."""
    names = {"row": "rows", "position": "positions", "unit": "units"}
    return pl.DataFrame({**{k: result[v].numpy() for k, v in names.items()}, "value": result["values"].float().numpy()})


TABLES: dict[str, Callable[[Result, dict[str, Any]], pl.DataFrame]] = {
    "topk": _topk,
    "toprows": _topk,
    "mean": _moments,
    "moments": _moments,
    "histogram": _histogram,
    "sparse": _sparse,
}
