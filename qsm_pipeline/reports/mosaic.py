"""Slices of a volume as a picture with colour bar, sides and positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from qsm_pipeline.reports.picture import WIDTH, webp
from qsm_pipeline.reports.slices import PLANES, Mosaic, View, Volume, mosaic

_BAR = 135
"""Width of the strip with the colour bar, in pixels."""
_LARGE = 3
"""Voxels of more pixels than this are shown as squares."""
_TEXT, _SOFT, _BACKGROUND = "white", "#c3cad5", "black"
_FONT_SIZE = 18


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
    if scale.factor != 1:
        volume = replace(volume, data=volume.data * np.float32(scale.factor))
    tiles = mosaic(volume, view)
    window = scale.limits(volume.data)
    shown = _coloured(tiles.pixels, window, scale.cmap)
    shown[~np.isfinite(tiles.pixels)] = 0
    if within is not None:
        shown[~(mosaic(within, view).pixels > 0.5)] = 0
    rows, columns = tiles.pixels.shape
    size = WIDTH - _BAR, round((WIDTH - _BAR) * rows / columns)
    picture = Image.new("RGB", (WIDTH, size[1]), _BACKGROUND)
    large = size[0] / columns > _LARGE
    how = Image.Resampling.NEAREST if large else Image.Resampling.BICUBIC
    picture.paste(Image.fromarray(shown).resize(size, how))
    for mask, colour in outlines:
        picture.paste(colour, mask=_outline(mosaic(mask, view).pixels > 0.5, size, picture.size))
    draw = ImageDraw.Draw(picture)
    _annotate(draw, tiles, volume, view, size[0] / columns)
    _draw_bar(picture, draw, window, scale)
    return webp(picture)


def _coloured(values: np.ndarray, window: tuple[float, float], cmap: str) -> np.ndarray:
    """Return the colours of values, as bytes."""
    from matplotlib import colormaps

    table = colormaps[cmap](np.arange(256), bytes=True)[:, :3]
    low, high = window
    steps = np.nan_to_num((values - low) * (256 / (high - low)), nan=0.0)
    return np.ascontiguousarray(table[np.clip(steps, 0, 255).astype(np.uint8)])


def _outline(inside: np.ndarray, size: tuple[int, int], whole: tuple[int, int]) -> Image.Image:
    """Return a line of two pixels along the border of what is inside."""
    grey = Image.fromarray(inside.astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)
    sharp = np.asarray(grey) > 127
    line = np.zeros((whole[1], whole[0]), bool)
    across, down = np.diff(sharp, axis=1), np.diff(sharp, axis=0)
    for start in (0, 1):
        line[: size[1], start : start + size[0] - 1] |= across
        line[start : start + size[1] - 1, : size[0]] |= down
    return Image.fromarray(line)


def _annotate(
    draw: ImageDraw.ImageDraw, tiles: Mosaic, volume: Volume, view: View, zoom: float
) -> None:
    """Write the sides on both sides of each tile, and where each slice lies in mm."""
    font = ImageFont.load_default(_FONT_SIZE)

    def write(column: float, row: float, text: str, anchor: str, colour: str) -> None:
        place = round(column * zoom), round(row * zoom)
        draw.text(place, text, colour, font, anchor, stroke_width=2, stroke_fill=_BACKGROUND)

    middle = (np.array(view.first) + view.last) / 2
    planes = {cut: across for cut, across, _ in PLANES}
    for (cut, positions), (top, bottom) in zip(view.rows, tiles.rows, strict=True):
        left, right = ("L", "R") if planes[cut] == 0 else ("P", "A")
        height, margin = (top + bottom) / 2, 6 / zoom
        for number, position in enumerate(positions):
            start, end = number * tiles.width + margin, (number + 1) * tiles.width - margin
            write(start, height, left, "lm", _TEXT)
            write(end, height, right, "rm", _TEXT)
            voxel = middle.copy()
            voxel[cut] = position
            mm = (volume.affine[:3, :3] @ voxel + volume.affine[:3, 3])[cut]
            write(end, bottom - margin, f"{'xyz'[cut]} {mm:.0f}", "rd", _SOFT)


def _draw_bar(
    picture: Image.Image, draw: ImageDraw.ImageDraw, window: tuple[float, float], scale: Scale
) -> None:
    """Draw the colour bar with its unit and numbers."""
    from matplotlib.ticker import MaxNLocator

    font = ImageFont.load_default(_FONT_SIZE)
    left, top, width = WIDTH - _BAR + 12, round(0.12 * picture.height), 20
    height = round(0.76 * picture.height)
    low, high = window
    colours = _coloured(np.linspace(high, low, height)[:, None], window, scale.cmap)
    picture.paste(Image.fromarray(np.repeat(colours, width, axis=1)), (left, top))
    draw.text((left, top - 12), scale.unit, _TEXT, font, "ls")
    for value in MaxNLocator(5).tick_values(low, high):
        if low <= value <= high:
            row = top + round((high - value) / (high - low) * (height - 1))
            draw.line((left + width, row, left + width + 6, row), _TEXT)
            draw.text((left + width + 10, row), f"{value:g}", _TEXT, font, "lm")
