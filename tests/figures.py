"""Figures for tests that do not look at them."""

from typing import Any
from unittest import mock

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave

_fine = Figure.savefig


def coarse(figure: Figure, path: Any, **_: Any) -> None:
    """`Figure.savefig` of the plots alone: layout, ticks and words cost more than all else in a small run."""
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_axis_off()
        for place in ("left", "center", "right"):
            axes.set_title("", loc=place)
        if legend := axes.get_legend():
            legend.remove()
    figure.set_dpi(20)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    imsave(path, canvas.buffer_rgba(), format="png", metadata={"Software": None})


def drawn() -> Any:
    """A context in which figures are as users see them, for tests that look."""
    return mock.patch.object(Figure, "savefig", _fine)
