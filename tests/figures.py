"""Figures for tests that do not look at them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave

_fine = Figure.savefig


def coarse(figure: Figure, path: Any, **_: Any) -> None:
    """`Figure.savefig` of the plots alone: layout, ticks and resolution cost more than all else in a small run."""
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_axis_off()
    figure.set_dpi(20)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    imsave(path, canvas.buffer_rgba(), format="png", metadata={"Software": None})


@contextmanager
def drawn() -> Iterator[None]:
    """Figures as users see them, for tests that look."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", _fine)
        yield
