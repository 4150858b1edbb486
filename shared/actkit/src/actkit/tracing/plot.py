"""Heat maps of a grid. Imported only where one is drawn, because matplotlib is slow to load."""

import base64
import io
from html import escape
from typing import TYPE_CHECKING, NamedTuple

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from torch import Tensor

from actkit.errors import ActkitError

if TYPE_CHECKING:
    from actkit.tracing.grid import Grid

_MOST_LABELS = 60
_MOST_PANELS = 12


class _Panel(NamedTuple):
    title: str
    image: Tensor
    """[rows, layers]."""
    labels: list[str]
    ylabel: str


def draw(grid: "Grid", ax: Axes | None) -> Axes:
    """See `Grid.plot`."""
    panels = _panels(grid)
    if ax is not None and len(panels) > 1:
        raise ActkitError(
            f"This grid has {len(panels)} panels, one per site, but was given one axes.",
            f"Draw one site: grid[{panels[0].title!r}].plot(ax).",
        )
    axes = [ax] if ax is not None else list(_figure(panels, plt.figure()).axes)
    return _fill(grid, panels, axes)


def as_html(grid: "Grid") -> str:
    """The heat map as an embedded picture; the summary alone where there are too many panels to see."""
    text = f"<pre>{escape(repr(grid))}</pre>"
    panels = _panels(grid)
    if len(panels) > _MOST_PANELS:
        return text
    figure = _figure(panels, Figure())
    _fill(grid, panels, list(figure.axes))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    picture = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{escape(repr(grid))}" src="data:image/png;base64,{picture}">'


def _panels(grid: "Grid") -> list[_Panel]:
    values = grid.values
    if len(grid.positions) == 1 and len(grid.sites) > 1:
        return [_Panel(f"at {grid.labels[0]}", values[:, :, 0], list(grid.sites), "")]
    return [_Panel(site, values[k].T, grid.labels, "token · position") for k, site in enumerate(grid.sites)]


def _figure(panels: list[_Panel], figure: Figure) -> Figure:
    """A figure with one axes per panel, as large as its labels need."""
    rows, layers = panels[0].image.shape
    longest = max(len(label) for panel in panels for label in panel.labels)
    figure.set_layout_engine("constrained")
    figure.set_size_inches(
        1.7 + 0.08 * longest + len(panels) * max(3.0, min(7.0, 0.25 * layers)),
        1.5 + max(1.6, min(10.0, 0.19 * rows)),
    )
    figure.subplots(1, len(panels), sharey=True, squeeze=False)
    return figure


def _fill(grid: "Grid", panels: list[_Panel], axes: list[Axes]) -> Axes:
    """One colour scale for all panels: white at the base, equally far to both sides."""
    reach = max(float((panel.image - grid.base).abs().nan_to_num(0).max()) for panel in panels) or 1.0
    other = grid.clean if grid.into == "corrupt" else grid.corrupt
    norm = TwoSlopeNorm(grid.base, grid.base - reach, grid.base + reach)
    colours = plt.get_cmap("RdBu_r" if other >= grid.base else "RdBu").with_extremes(bad="0.85")
    for panel, ax in zip(panels, axes, strict=True):
        image = ax.imshow(panel.image.numpy(), cmap=colours, norm=norm, aspect="auto", interpolation="nearest")
        _label(ax, panel, grid.layers, leftmost=ax is axes[0])
    figure = axes[0].figure
    bar = figure.colorbar(image, ax=axes, label=grid.metric.replace("$", r"\$"))  # pyright: ignore[reportPossiblyUnboundVariable]
    bar.ax.axhline(grid.base, color="0.3", lw=1)
    bar.ax.set_ylim(*_range(grid, panels, reach))
    if len(panels) == 1:
        axes[0].set_title(f"{grid.title()}\n{panels[0].title}", fontsize="small", loc="left", parse_math=False)
        return axes[0]
    figure.suptitle(grid.title(), fontsize="small", parse_math=False)  # pyright: ignore[reportAttributeAccessIssue]
    for panel, ax in zip(panels, axes, strict=True):
        ax.set_title(panel.title, fontsize="small")
    return axes[0]


def _range(grid: "Grid", panels: list[_Panel], reach: float) -> tuple[float, float]:
    """What the colour bar shows: no values that do not occur, beyond a margin around the base."""
    seen = [panel.image[panel.image.isfinite()] for panel in panels]
    low = min([grid.base - reach / 20, *(float(each.min()) for each in seen if len(each))])
    return low, max([grid.base + reach / 20, *(float(each.max()) for each in seen if len(each))])


def _label(ax: Axes, panel: _Panel, layers: tuple[int, ...], *, leftmost: bool) -> None:
    """Every layer and token, or as many as can be read."""
    step = -(-len(layers) // 12)
    ax.set_xticks(range(0, len(layers), step), [str(layer) for layer in layers[::step]])
    ax.set_xlabel("layer")
    if leftmost:
        step = -(-len(panel.labels) // _MOST_LABELS)
        # A dollar sign in a label is a dollar sign, not the start of mathematics.
        ax.set_yticks(range(0, len(panel.labels), step), panel.labels[::step], fontsize="small", parse_math=False)
        ax.set_ylabel(panel.ylabel)
