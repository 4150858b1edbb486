"""What the stages draw. Every figure shows numbers that also stand in a table of the same run."""

import textwrap
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

TAG_COLORS = {
    "text": "#9aa0a6",
    "operand": "#4c78a8",
    "operator": "#e45756",
    "equals": "#f2a33a",
    "result": "#54a24b",
    "answer": "#b279a2",
    "after_answer": "#dddddd",
}
"""One colour per token tag, in the order in which a chain meets them."""


def accuracy(rates: dict[str, float], errors: dict[str, float], n: int) -> Figure:
    """Bars of accuracy and answer rates with one standard error; `n` items."""
    figure = Figure(figsize=(6, 0.55 * len(rates) + 1.2), layout="constrained")
    axes = figure.subplots()
    names = list(rates)[::-1]
    values = [100 * rates[name] for name in names]
    bars = axes.barh(names, values, xerr=[100 * errors.get(name, 0.0) for name in names], color="#4c78a8", capsize=3)
    axes.bar_label(bars, labels=[f"{value:.1f} %" for value in values], padding=6)
    axes.set(xlim=(0, 115), xlabel=f"share of {n:,} items (bars: one standard error)")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def layer_map(scores: Float[np.ndarray, "layers kinds"], kinds: Sequence[str], layers: Sequence[int]) -> Figure:
    """Where in the model each kind of token is written: mean summed top-k score per layer and kind of token."""
    figure = Figure(figsize=(1.0 + 0.75 * len(kinds), 1.4 + 0.3 * len(layers)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(scores, aspect="auto", cmap="viridis", origin="lower")
    axes.set_xticks(range(len(kinds)), kinds, rotation=35, ha="right")
    step = max(1, len(layers) // 16)
    axes.set_yticks(range(0, len(layers), step), [str(layer) for layer in layers[::step]])
    axes.set(ylabel="layer", title="summed |m|·‖v‖ of the top neurons, mean per step")
    figure.colorbar(image, ax=axes)
    return figure


def chain(
    tokens: Sequence[str],
    tags: Sequence[str],
    scores: Float[np.ndarray, "neurons steps"],
    labels: Sequence[str],
    title: str,
) -> Figure:
    """One chain of thought, token by token: which neurons were among the strongest when each token was written.

    `title` is the question. `scores` is signed (m·‖v‖), drawn as a share of the neuron's own largest here; zero means
    that the neuron was not among the top k at that step.
    """
    figure = Figure(figsize=(2.6 + 0.2 * len(tokens), 2.0 + 0.26 * len(labels)), layout="constrained")
    axes = figure.subplots()
    largest = np.abs(scores).max(axis=1, keepdims=True)
    shares = scores / np.where(largest == 0, 1, largest)
    image = axes.imshow(shares, aspect="auto", cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    plain = {"fontsize": 8, "family": "monospace", "parse_math": False}
    axes.set_yticks(range(len(labels)), [_visible(label) for label in labels], **plain)
    axes.set_xticks(range(len(tokens)), [_visible(token) for token in tokens], rotation=90, **plain)
    for tick, tag in zip(axes.get_xticklabels(), tags, strict=True):
        tick.set_color(TAG_COLORS[tag])
        tick.set_fontweight("normal" if tag == "text" else "bold")
    legend = "white: not among the strongest of its layer; red: m > 0, blue: m < 0; tokens coloured by kind"
    width = 12 * figure.get_figwidth()
    axes.set_title("\n".join([*textwrap.wrap(title, int(width)), legend]), fontsize=9, loc="left", parse_math=False)
    axes.tick_params(length=0)
    figure.colorbar(image, ax=axes, label="m·‖v‖, share of the row's largest", fraction=0.02, pad=0.01)
    return figure


def _visible(text: str) -> str:
    """Text as a font can show it: line ends as \\n, other unprintable characters as a dot."""
    return "".join(each if each.isprintable() else "\\n" if each == "\n" else "·" for each in text)
