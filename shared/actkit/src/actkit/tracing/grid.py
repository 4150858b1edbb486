"""What a trace found: a number per site, layer and column, as a tensor, a table and a heat map."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from actkit.errors import ActkitError, nearest
from actkit.tokens import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Into = Literal["corrupt", "clean"]


@dataclass(frozen=True, eq=False)
class Grid:
    """Metric of R patched runs, per K sites, L layers and P columns of positions; everything in float64 on the CPU.

    `per_row`: [R, K, L, P], R being pairs × noise samples. NaN: not computed, or a text too short for the column.
    """

    per_row: Float[Tensor, "R K L P"]
    clean_rows: Float[Tensor, " R"]
    """The metric without any patch, in the clean run of each row."""
    corrupt_rows: Float[Tensor, " R"]
    sites: tuple[str, ...]
    layers: tuple[int, ...]
    positions: tuple[str, ...]
    """Names of the columns."""
    tokens: tuple[str | None, ...]
    """Text of each column's token, where there is one prompt and one token."""
    metric: str
    into: Into = "corrupt"
    window: int = 1
    estimate: bool = False
    """First-order estimates by attribution patching, rather than measured."""

    @property
    def clean(self) -> float:
        """Mean metric of the clean runs."""
        return float(self.clean_rows.mean())

    @property
    def corrupt(self) -> float:
        """Mean metric of the corrupt runs."""
        return float(self.corrupt_rows.mean())

    @property
    def base(self) -> float:
        """Mean metric of the runs patched into, before the patch."""
        return self.corrupt if self.into == "corrupt" else self.clean

    @property
    def values(self) -> Float[Tensor, "K L P"]:
        """Mean metric over the rows that have the column."""
        return self.per_row.nanmean(0)

    @property
    def effect(self) -> Float[Tensor, "K L P"]:
        """Share of the way from the run patched into to the other one: 0 changes nothing, 1 goes all the way."""
        rows = (self.corrupt_rows, self.clean_rows)
        base, other = rows if self.into == "corrupt" else rows[::-1]
        there = self.per_row.isfinite().double()
        start = torch.einsum("r,rklp->klp", base, there)
        way = torch.einsum("r,rklp->klp", other - base, there)
        return (self.per_row.nansum(0) - start) / way.where(way != 0, torch.nan)

    def __getitem__(self, site: str) -> "Grid":
        """One site's part. Raises ActkitError, naming the nearest, for one that was not traced."""
        if site not in self.sites:
            raise ActkitError(f"Site {site!r} was not traced. Nearest: {nearest(site, self.sites)}.")
        k = self.sites.index(site)
        return replace(self, sites=(site,), per_row=self.per_row[:, k : k + 1])

    def table(self) -> pl.DataFrame:
        """One row per computed cell: site, layer, position, token (null for several), value, effect."""
        cells = self.values.isfinite().nonzero().tolist()
        effect = self.effect
        columns = {
            "site": [self.sites[k] for k, _, _ in cells],
            "layer": [self.layers[i] for _, i, _ in cells],
            "position": [self.positions[j] for _, _, j in cells],
            "token": [self.tokens[j] for _, _, j in cells],
            "value": [float(self.values[k, i, j]) for k, i, j in cells],
            "effect": [float(effect[k, i, j]) for k, i, j in cells],
        }
        types = [pl.String, pl.Int64, pl.String, pl.String, pl.Float64, pl.Float64]
        return pl.DataFrame(columns, schema=dict(zip(columns, types, strict=True)))

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """A heat map, tokens down and layers across, one panel per site; returns the (first) axes.

        Heads of one column become one panel, heads down. White is the run patched into, red towards the other one.
        Raises ActkitError for several panels and a single `ax`.
        """
        from actkit.tracing.plot import draw

        return draw(self, ax)

    @property
    def labels(self) -> list[str]:
        """Names of the columns to read: number and token, or the given name."""
        return [
            name if token is None else f"{visible(token).strip()} · {name}"
            for name, token in zip(self.positions, self.tokens, strict=True)
        ]

    def best(self) -> str:
        """The strongest cell, in words."""
        change = (self.values - self.base).abs()
        if not bool(change.isfinite().any()):
            return "nothing computed"
        k, i, j = (int(n) for n in torch.unravel_index(change.nan_to_num(-1).argmax(), change.shape))
        return (
            f"{self.sites[k]}.{self.layers[i]} at {self.labels[j]}: {float(self.values[k, i, j]):.4g}"
            f" (effect {float(self.effect[k, i, j]):.2f})"
        )

    def title(self) -> str:
        """What was done, and the baselines."""
        into, of = ("corrupt", "clean") if self.into == "corrupt" else ("clean", "corrupt")
        window = f", {self.window} layers at once" if self.window > 1 else ""
        how = " (first-order estimate)" if self.estimate else ""
        rows = f" (means of {len(self.clean_rows)} rows)" if len(self.clean_rows) > 1 else ""
        return (
            f"{self.metric}\n{of} activations put into the {into} run{window}{how}\n"
            f"clean {self.clean:.4g}, corrupt {self.corrupt:.4g}{rows}"
        )

    def __repr__(self) -> str:
        sizes = f"{len(self.sites)} sites × {len(self.layers)} layers × {len(self.positions)} positions"
        return f"Grid({sizes})\n{self.title()}\nstrongest: {self.best()}"

    def _repr_html_(self) -> str:
        from actkit.tracing.plot import as_html

        return as_html(self)
