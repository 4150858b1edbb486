"""Figures for notebooks and files. Imported on first use, because matplotlib is slow to load."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from actkit.tokens import visible

_PLAIN = {"parse_math": False, "family": ["DejaVu Sans Mono", "monospace"]}


_RED, _BLUE = "#c8503c", "#3f74b5"  # above and below zero
_TEAL, _OCHRE, _GREY = "#2f8f88", "#d9962b", "#8a8f98"


class Picture(Figure):
    """A matplotlib figure that a notebook shows by itself, once, whatever the backend. `savefig` writes it."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=110)
        return buffer.getvalue()


def token_grid(
    values: Float[np.ndarray, "L T"],
    words: list[list[str]],
    *,
    layers: Sequence[int],
    tokens: Sequence[str],
    title: str,
    cmap: str,
    limits: tuple[float, float],
    unit: str,
) -> Picture:
    """Layers (first at the bottom) by tokens: each cell's colour is its value, its text the word there."""
    figure = Picture(figsize=(max(5.5, 1.8 + 0.72 * len(tokens)), 1.4 + 0.34 * len(layers)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(values, aspect="auto", origin="lower", cmap=cmap, vmin=limits[0], vmax=limits[1])
    shade = colormaps[cmap]
    for (row, column), share in np.ndenumerate(np.clip((values - limits[0]) / (limits[1] - limits[0]), 0, 1)):
        ink = "black" if _luminance(shade(share)) > 0.18 else "white"
        axes.text(column, row, shortened(words[row][column]), ha="center", va="center", fontsize=8, color=ink, **_PLAIN)
    axes.set_yticks(range(len(layers)), [str(layer) for layer in layers])
    axes.set_xticks(range(len(tokens)), [shortened(token, 12) for token in tokens], rotation=45, ha="right", fontsize=8)
    for label in axes.get_xticklabels():
        label.set(**_PLAIN)
    axes.set(xlabel="token read", ylabel="layer")
    axes.set_title(title, loc="left", fontsize=10, parse_math=False)
    bare(axes)
    figure.colorbar(image, ax=axes, label=unit, pad=0.01)
    return figure


def layer_bars(parts: dict[str, Float[np.ndarray, "*L"]], *, title: str) -> Picture:
    """Contributions of each layer's attention and MLP side by side, and of what has no layer before and after them."""
    layers = len(parts["attn"])
    figure = Picture(figsize=(max(5.0, 2.2 + 0.45 * layers), 3.2), layout="constrained")
    axes = figure.subplots()
    places = np.arange(layers)
    axes.bar(places - 0.2, parts["attn"], 0.38, color=_TEAL, label="attention")
    axes.bar(places + 0.2, parts["mlp"], 0.38, color=_OCHRE, label="MLP")
    axes.bar([-1.2, layers + 0.2], [parts["embed"], parts["bias"]], 0.38, color=_GREY)
    step = max(1, layers // 16)
    shown = list(range(0, layers, step))
    axes.set_xticks([-1.2, *shown, layers + 0.2], ["embed", *map(str, shown), "bias"])
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(xlabel="layer", ylabel="contribution (logits)")
    axes.set_title(title, loc="left", fontsize=10, parse_math=False)
    bare(axes)
    axes.legend(frameon=False, fontsize=9)
    return figure


def head_map(values: Float[np.ndarray, "L H"], *, title: str) -> Picture:
    """Contributions of the heads, layers from the bottom up; red pushes the logit up, blue down."""
    layers, heads = values.shape
    figure = Picture(figsize=(max(5.0, 2.0 + 0.45 * heads), max(2.4, 1.3 + 0.32 * layers)), layout="constrained")
    axes = figure.subplots()
    limit = float(np.abs(values).max()) or 1.0
    image = axes.imshow(values, aspect="auto", origin="lower", cmap="RdBu_r", vmin=-limit, vmax=limit)
    for ticks, count in ((axes.set_xticks, heads), (axes.set_yticks, layers)):
        ticks(range(0, count, max(1, count // 16)))
    axes.set(xlabel="head", ylabel="layer")
    axes.set_title(title, loc="left", fontsize=10, parse_math=False)
    bare(axes)
    figure.colorbar(image, ax=axes, label="contribution (logits)", pad=0.01)
    return figure


def ranked_bars(labels: Sequence[str], values: Sequence[float], *, title: str) -> Picture:
    """The largest contributions, largest on top, red for those that push the logit up, blue for down."""
    figure = Picture(figsize=(6.0, 1.2 + 0.24 * len(labels)), layout="constrained")
    axes = figure.subplots()
    places = range(len(labels))[::-1]
    axes.barh(places, values, color=[_RED if value > 0 else _BLUE for value in values])
    axes.set_yticks(places, labels, fontsize=9)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set(xlabel="contribution (logits)")
    axes.set_title(title, loc="left", fontsize=10, parse_math=False)
    bare(axes)
    return figure


def shortened(token: str, width: int = 8) -> str:
    """A token that fits a cell, its unprintable characters spelled."""
    text = visible(token)
    return text if len(text) <= width else text[: width - 1] + "…"


def bare(axes: Axes) -> None:
    """Take away the frame and the tick marks, which say nothing."""
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _luminance(color: Any) -> float:
    """Relative luminance as WCAG 2 defines it, of an RGBA colour."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
