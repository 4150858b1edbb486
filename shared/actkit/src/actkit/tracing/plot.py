"""Heat maps of a grid. matplotlib is imported here only."""

import base64
import io
from html import escape
from typing import TYPE_CHECKING, Any

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from actkit.errors import ActkitError

if TYPE_CHECKING:
    from actkit.tracing.grid import Grid

_MOST_TICKS = 16
