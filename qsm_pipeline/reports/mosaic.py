"""Slices of a volume as a picture with colour bar, sides and positions."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from qsm_pipeline.reports.slices import PLANES, Mosaic, View, Volume, mosaic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_INCH, DPI = 13.0, 150
_BAR_INCH = 0.9
_QUALITY = 70
_BACKGROUND = "black"


@dataclass(frozen=True)
class Scale:
    """How values become colours.

    Parameters
    ----------
    unit : str
        Beside the colour bar.
    window : tuple of float, optional
        Values of the first and the last colour; else the range of nearly all values that are
        not zero.
    symmetric : bool
        Whether a window from the values is centred on zero.
    cmap : str
        Colour map of matplotlib.
    factor : float
        What values are multiplied with to be in the unit.
    """

    unit: str
    window: tuple[float, float] | None = None
    symmetric: bool = False
    cmap: str = "gray"
    factor: float = 1.0

    def limits(self, values: np.ndarray) -> tuple[float, float]:
        """Return the window for some values."""
        if self.window is not None:
            return self.window
        there = values[values != 0]
        if not there.size:
            return 0.0, 1.0
        if self.symmetric:
            largest = float(np.percentile(np.abs(there), 97)) or 1.0
            return -largest, largest
        low, high = (float(p) for p in np.percentile(there, (0.5, 99.5)))
        return min(low, 0.0) if low < high / 4 else low, high if high > low else low + 1


def draw_mosaic(
    volume: Volume,
    view: View,
    scale: Scale,
    outlines: Sequence[tuple[Volume, str]] = (),
    within: Volume | None = None,
) -> bytes:
    """Draw the slices of a view.

    Parameters
    ----------
    volume : Volume
        What to show.
    view : View
        Which slices.
    scale : Scale
        Colours.
    outlines : sequence of (Volume, str)
        Masks of the same shape and the colours of their outlines.
    within : Volume, optional
        Mask outside which nothing is shown.

    Returns
    -------
    bytes
        WebP; the left of the picture is the participant's left.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    if scale.factor != 1:
        volume = replace(volume, data=volume.data * np.float32(scale.factor))
    tiles = mosaic(volume, view)
    if within is not None:
        tiles.pixels[~(mosaic(within, view).pixels > 0.5)] = np.nan
    low, high = scale.limits(volume.data)
    height, width = tiles.pixels.shape
    picture_inch = WIDTH_INCH - _BAR_INCH
    figure = Figure(figsize=(WIDTH_INCH, picture_inch * height / width), facecolor=_BACKGROUND)
    FigureCanvasAgg(figure)
    share = picture_inch / WIDTH_INCH
    axes = figure.add_axes((0, 0, share, 1))
    shown = axes.imshow(tiles.pixels, cmap=scale.cmap, vmin=low, vmax=high, aspect="auto")
    for mask, colour in outlines:
        inside = mosaic(mask, view).pixels > 0.5
        if inside.any() and not inside.all():
            axes.contour(inside, levels=[0.5], colors=colour, linewidths=0.9)
    axes.set_facecolor(_BACKGROUND)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    _annotate(axes, tiles, volume, view)
    bar = figure.colorbar(
        shown, cax=figure.add_axes((share + 0.006, 0.12, 0.010, 0.76)), ticks=MaxNLocator(5)
    )
    bar.ax.tick_params(colors="white", labelsize=9)
    bar.ax.set_title(scale.unit, color="white", fontsize=10, loc="left")
    bar.outline.set_visible(False)
    return webp(figure)


def webp(figure: Figure) -> bytes:
    """Return a drawn figure as WebP."""
    buffer = io.BytesIO()
    figure.savefig(
        buffer,
        format="webp",
        dpi=DPI,
        facecolor=figure.get_facecolor(),
        pil_kwargs={"quality": _QUALITY, "method": 4},
    )
    return buffer.getvalue()


def _annotate(axes: Axes, tiles: Mosaic, volume: Volume, view: View) -> None:
    """Write the sides on both sides of each tile, and where each slice lies in mm."""
    from matplotlib.patheffects import withStroke

    outlined = [withStroke(linewidth=2, foreground="black")]
    style = {"color": "white", "fontsize": 8, "va": "center", "path_effects": outlined}
    middle = (np.array(view.first) + view.last) / 2
    planes = {cut: across for cut, across, _ in PLANES}
    for (cut, positions), (top, bottom) in zip(view.rows, tiles.rows, strict=True):
        across = planes[cut]
        left, right = ("L", "R") if across == 0 else ("P", "A")
        height = (top + bottom) / 2
        for number, position in enumerate(positions):
            axes.text(number * tiles.width + 3, height, left, ha="left", **style)
            axes.text((number + 1) * tiles.width - 3, height, right, ha="right", **style)
            voxel = middle.copy()
            voxel[cut] = position
            mm = (volume.affine[:3, :3] @ voxel + volume.affine[:3, 3])[cut]
            axes.text(
                (number + 1) * tiles.width - 3,
                bottom - 3,
                f"{'xyz'[cut]} {mm:.0f}",
                color="#c3cad5",
                fontsize=8,
                ha="right",
                va="bottom",
                path_effects=outlined,
            )
