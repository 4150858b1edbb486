"""First pass over the chains: every neuron's direct logit attribution, summed per group of items and kind of token.

Memory is layers × neurons × signs × kinds × groups, whatever the number of steps.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from cot_neurons.attributions.layers import Layer
from cot_neurons.tags import KINDS

SIGNS = ("+", "-")


class Sums:
    """Sums over steps, shown layer by layer. `layers`: the model's layers with neurons."""

    def __init__(self, layers: Sequence[int], d_mlp: int) -> None:
        self._place = {layer: i for i, layer in enumerate(layers)}
        self._shape = (len(layers), len(SIGNS), d_mlp)
        self._sums: dict[str, Float[np.ndarray, "L 2 N"]] = {}

    def add(self, layer: Layer, values: Callable[[int], Float[Tensor, "N D"]], cells: Sequence[str]) -> None:
        """Add one layer's steps. `values`: a layer's value vectors; `cells`: what each step counts for."""
        share = layer.m * (layer.direction @ values(layer.number).to(layer.m).T)
        names, place = np.unique(cells, return_inverse=True)
        # A product rather than scattered additions, whose order an accelerator does not promise.
        inside = torch.nn.functional.one_hot(torch.tensor(place), len(names)).T.to(share)
        for sign, fires in enumerate((layer.m > 0, layer.m < 0)):
            found = (inside @ (share * fires)).cpu().double().numpy()
            for name, total in zip(names, found, strict=True):
                self._sums.setdefault(str(name), np.zeros(self._shape))[self._place[layer.number], sign] += total

    def merge(self, other: "Sums") -> None:
        """Add what was summed of other steps."""
        for name, found in other._sums.items():
            self._sums[name] = self._sums.get(name, 0) + found

    def table(self) -> pl.DataFrame:
        """A column per cell, all neurons below each other."""
        return pl.DataFrame({name: sums.ravel().astype(np.float32) for name, sums in sorted(self._sums.items())})


def strongest(
    pieces: Iterable[pl.DataFrame], steps: pl.Series, layers: Sequence[int], d_mlp: int, top: int
) -> pl.DataFrame:
    """Layer, neuron, polarity, kind: for each kind of token the `top` by absolute mean attribution, the best first.

    `steps`: the cell of every step. The group "against" is ranked for itself, by the answer alone, so that what
    counts without a chain of thought is not overlooked.
    """
    totals: dict[str, np.ndarray] = {}
    for piece in pieces:
        for name in piece.columns:
            totals[name] = totals.get(name, 0) + piece[name].to_numpy().astype(float)
    found: list[pl.DataFrame] = []
    counts = dict(steps.value_counts().iter_rows())
    for kind in KINDS:
        for cells in ([f"right/{kind}", f"wrong/{kind}"], [f"against/{kind}"] if kind == "answer" else []):
            if there := [cell for cell in cells if cell in totals]:
                mean = sum(totals[cell] for cell in there) / sum(counts[cell] for cell in there)
                found.append(_best(np.asarray(mean), layers, d_mlp, top).with_columns(pl.lit(kind).alias("kind")))
    return pl.concat(found).unique(maintain_order=True)


def _best(mean: Float[np.ndarray, " poles"], layers: Sequence[int], d_mlp: int, top: int) -> pl.DataFrame:
    order = np.argsort(-np.abs(mean), kind="stable")[:top]
    layer, sign, neuron = np.unravel_index(order[mean[order] != 0], (len(layers), len(SIGNS), d_mlp))
    return pl.DataFrame(
        {"layer": np.asarray(layers)[layer], "neuron": neuron, "polarity": np.asarray(SIGNS)[sign]},
        schema={"layer": pl.Int64, "neuron": pl.Int64, "polarity": pl.String},
    )
