"""What a world asks: questions of each kind in each split, by how many facts they need recalled."""

import polars as pl
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator


def asked(counts: pl.DataFrame) -> Figure:
    """A panel per split. `counts`: rows of split, kind, recalled (memory steps) and n."""
    splits = counts["split"].unique(maintain_order=True).to_list()
    kinds = counts["kind"].unique(maintain_order=True).to_list()
    steps = sorted(counts["recalled"].unique())
    figure = Figure(figsize=(3.2 * len(splits) + 1, 1.4 + 0.34 * len(kinds)), layout="constrained")
    panels = figure.subplots(1, len(splits), squeeze=False)[0]
    shades = colormaps["viridis_r"]
    colors = {each: shades(0.1 + 0.85 * number / max(1, len(steps) - 1)) for number, each in enumerate(steps)}
    for axes, split in zip(panels, splits, strict=True):
        _split(axes, counts.filter(split=split), kinds, colors)
        axes.set_title(f"{split}: {counts.filter(split=split)['n'].sum():,}")
    for axes in panels[1:]:
        axes.set_yticklabels([])
    handles = [panels[0].barh(0, 0, color=color) for color in colors.values()]
    figure.legend(
        handles, list(map(str, steps)), title="memory steps", loc="outside right center", frameon=False
    )  # fmt: skip
    return figure


def _split(axes: Axes, counts: pl.DataFrame, kinds: list[str], colors: dict[int, tuple[float, ...]]) -> None:
    left = [0] * len(kinds)
    for steps, color in colors.items():
        n = dict(counts.filter(recalled=steps).select("kind", "n").iter_rows())
        width = [n.get(kind, 0) for kind in kinds]
        axes.barh(range(len(kinds)), width, left=left, color=color)
        left = [a + b for a, b in zip(left, width, strict=True)]
    axes.set_yticks(range(len(kinds)), [kind.replace("_", " ").replace(".", "’s ") for kind in kinds])
    axes.invert_yaxis()
    axes.set_xlabel("questions")
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.spines[["top", "right"]].set_visible(False)
