"""Pictures and plots as WebP, all of one width."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 1950
"""In pixels."""
_DPI = 150
_MARGINS = {"left": 0.06, "right": 0.985, "bottom": 0.16, "top": 0.91}
_QUALITY, _EFFORT = 60, 2  # more effort takes twice as long for 6 % fewer bytes


def webp(picture: Image.Image) -> bytes:
    """Return a picture as WebP."""
    buffer = io.BytesIO()
    picture.save(buffer, format="webp", quality=_QUALITY, method=_EFFORT)
    return buffer.getvalue()


def plot(height_inch: float) -> Axes:
    """Return the axes of an empty plot."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH / _DPI, height_inch), dpi=_DPI, facecolor="white")
    figure.subplots_adjust(**_MARGINS)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def drawn(axes: Axes) -> bytes:
    """Return a plot as WebP."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(axes.figure)
    canvas.draw()
    return webp(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]))
