"""The table `features` of a layer: what the original's files say of each neuron, exactly or by the tokens they hold."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Float, Int
from runkit.errors import DataError

from expgen import tables
from expgen.imported.layout import Layout, Pole

_AT_ONCE = 1 << 23
_LEAST_OF_PEAK = 0.1  # what counts for a density
_QUANTILES = ("q001", "q01", "q10", "q50", "q90", "q99", "q999")


class _Sample(NamedTuple):
    """Tokens of some neurons, ascending, NaN behind them; `n`: how many each has."""

    x: Float[np.ndarray, "F S"]
    n: Int[np.ndarray, " F"]

    @classmethod
    def of(cls, poles: tuple[Pole, Pole], part: slice) -> "_Sample":
        """All tokens that are stored of these neurons."""
        parts = [np.array(pole.acts[part], np.float32).reshape(part.stop - part.start, -1) for pole in poles]
        x = np.concatenate(parts, axis=1)
        x[~np.isfinite(x)] = np.nan
        x.sort(axis=1)
        return cls(x, np.isfinite(x).sum(1))

    def quantile(self, q: float) -> Float[np.ndarray, " F"]:
        """Between the two nearest, in proportion."""
        place = q * (self.n - 1)
        low = np.floor(place).astype(int)
        a, b = (np.take_along_axis(self.x, np.minimum(i, self.n - 1)[:, None], 1)[:, 0] for i in (low, low + 1))
        return a + (b - a) * (place - low)


def sampled(layout: Layout) -> str:
    """The split whose tokens stand for all: one of random sequences where there is one; else train's strongest."""
    return f"random_{layout.random[0]}" if layout.random else "train"


def features(layout: Layout, layer: int, model: str) -> pl.DataFrame:
    """Rows of `tables.Features`, over the train split.

    low, high and peak are exact: the extremes of all sequences. mean, std, quantiles and density are estimates from the
    tokens of the sequences `sampled` names: unbiased for random ones, far too strong for the strongest ones.

    Raises:
        DataError: a neuron has no sequence.
    """
    high, low = layout.poles("train", layer)
    tokens = layout.poles(sampled(layout), layer)
    return pl.concat(_rows(high, low, tokens, part, layer, model) for part in _parts(tokens))


def _parts(tokens: tuple[Pole, Pole]) -> Iterator[slice]:
    neurons = len(tokens[0].acts)
    step = max(1, _AT_ONCE // sum(pole.acts[0].size for pole in tokens))
    return (slice(start, min(start + step, neurons)) for start in range(0, neurons, step))


def _rows(high: Pole, low: Pole, tokens: tuple[Pole, Pole], part: slice, layer: int, model: str) -> pl.DataFrame:
    sample = _Sample.of(tokens, part)
    edges = [_extreme(pole, part, sign) for pole, sign in ((low, -1), (high, 1))]
    if (sample.n == 0).any():
        neuron = part.start + int((sample.n == 0).argmax())
        raise DataError(f"{tokens[0].folder}: neuron {neuron} has no sequence at all")
    shared = {
        "neuron": np.arange(part.start, part.stop), "mean": np.nanmean(sample.x, axis=1, dtype=float),
        "std": np.nanstd(sample.x, axis=1, dtype=float), "low": edges[0], "high": edges[1],
        **{name: sample.quantile(q) for name, q in zip(_QUANTILES, tables.QUANTILES, strict=True)},
    }  # fmt: skip
    both = [_polarity(shared, sample, edge, sign) for sign, edge in ((1, edges[1]), (-1, edges[0]))]
    found = pl.concat(both).sort("neuron", maintain_order=True)
    found = found.with_columns(model=pl.lit(model), layer=pl.lit(layer, pl.Int64), source=pl.lit("mlp_post"))
    return found.select(pl.col(name).cast(kind) for name, kind in tables.columns(tables.Features).items())


def _polarity(shared: dict[str, np.ndarray], sample: _Sample, peak: Float[np.ndarray, " F"], sign: int) -> pl.DataFrame:
    alive = sign * peak > 0
    above = (sign * sample.x > _LEAST_OF_PEAK * (sign * peak)[:, None]).sum(1)
    return pl.DataFrame(
        {**shared, "polarity": ["+" if sign > 0 else "-"] * len(peak), "peak": peak, "alive": alive,
         "density": np.where(alive, above / sample.n, 0.0)}
    ).with_columns(peak=pl.when("alive").then("peak"))  # fmt: skip


def _extreme(pole: Pole, part: slice, sign: int) -> Float[np.ndarray, " F"]:
    """Of all sequences of the run, not only the stored ones."""
    assert pole.peaks is not None, "only random splits have none"
    return sign * (sign * np.array(pole.peaks[part], float)).max(1)
