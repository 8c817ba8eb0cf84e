"""Volumes turned upright, and the slices of them that every figure of a run shows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import nibabel as nib
import numpy as np

PER_ROW = 7
"""Slices beside each other, if there are as many."""
_LEAST_PER_ROW = 5
_AXIAL_ROWS = 3
_FROM_VERTEX_MM, _LENGTH_MM = (58.0, 118.0), 175.0
"""From above the caudate head to below the dentate nuclei, in a brain of that length (MNI)."""

_MARGIN_MM = 5.0
_MAX_TILE = 400
"""Pixels of a tile; larger ones only make the page heavier."""

PLANES = ((2, 0, 1), (1, 0, 2), (0, 1, 2))
"""Axial, coronal and sagittal: the axis that is cut, the one to the right, the one upwards."""


@dataclass(frozen=True)
class Volume:
    """A volume whose axes point as nearly as possible to right, anterior and superior.

    Parameters
    ----------
    data : numpy.ndarray, shape (X, Y, Z)
        Zero where the file holds no finite number.
    affine : numpy.ndarray, shape (4, 4)
        Voxel to scanner mm.
    """

    data: np.ndarray
    affine: np.ndarray

    @property
    def voxel_size_mm(self) -> np.ndarray:
        """Edge lengths of a voxel."""
        return np.asarray(nib.affines.voxel_sizes(self.affine))


def load_volume(path: str | Path, echo: int = 0) -> Volume:
    """Load a volume, or one echo of a 4D file, turned upright."""
    image = nib.load(path)
    if image.ndim == 4:
        image = image.slicer[..., echo]
    upright = nib.as_closest_canonical(image)
    data = np.array(upright.dataobj, dtype=np.float32)
    data[~np.isfinite(data)] = 0
    return Volume(data, upright.affine)


@dataclass(frozen=True)
class View:
    """Which slices are shown, and the box that they are cut to.

    Parameters
    ----------
    first, last : tuple of int, length 3
        The box, in voxels of the upright volume; ``last`` is the first one outside.
    rows : tuple of (int, tuple of int)
        Of each row: the axis that is cut, and its slices.
    """

    first: tuple[int, ...]
    last: tuple[int, ...]
    rows: tuple[tuple[int, tuple[int, ...]], ...]

    @classmethod
    def of(cls, volume: Volume) -> View:
        """Show what is above zero; the whole volume if nothing is."""
        inside = volume.data > 0
        first, last, positions = [], [], []
        for axis in range(3):
            others = tuple(a for a in range(3) if a != axis)
            hit = np.flatnonzero(inside.any(axis=others))
            low, high = (hit[0], hit[-1]) if len(hit) else (0, inside.shape[axis] - 1)
            margin = round(_MARGIN_MM / volume.voxel_size_mm[axis])
            first.append(max(0, int(low) - margin))
            last.append(min(inside.shape[axis], int(high) + 1 + margin))
            steps = low + (high - low) * np.linspace(0.1, 0.9, PER_ROW)
            positions.append(tuple(np.unique(np.round(steps).astype(int)).tolist()))
        rows = tuple((cut, positions[cut]) for cut, *_ in PLANES)
        return cls(tuple(first), tuple(last), rows)

    def through_the_nuclei(self, volume: Volume) -> View:
        """Show axial slices through basal ganglia, midbrain and dentate nuclei.

        Their depth below the vertex is that of the MNI brain, scaled with the length of the mask.
        Of a slab, whose vertex is not in the image, all slices are shown evenly.
        """
        inside = volume.data > 0
        heights = np.flatnonzero(inside.any(axis=(0, 1)))
        lengths = np.flatnonzero(inside.any(axis=(0, 2)))
        if not len(heights):
            return self
        voxel = volume.voxel_size_mm
        scale = (lengths[-1] - lengths[0] + 1) * voxel[1] / _LENGTH_MM
        high, low = (heights[-1] - scale * mm / voxel[2] for mm in _FROM_VERTEX_MM)
        if heights[-1] >= inside.shape[2] - 1 or high <= heights[0]:
            high, low = heights[-1], heights[0]
        low = max(low, heights[0])
        steps = np.round(np.linspace(high, low, PER_ROW * _AXIAL_ROWS)).astype(int)
        distinct = np.unique(steps)[::-1]  # thick slices are fewer
        rows = np.array_split(distinct, -(-len(distinct) // PER_ROW))
        return replace(self, rows=tuple((2, tuple(row.tolist())) for row in rows))


@dataclass(frozen=True)
class Mosaic:
    """Slices side by side in rows.

    Parameters
    ----------
    pixels : numpy.ndarray, shape (rows, columns)
        Square pixels, the first row on top; NaN beside slices that are narrower than others.
    rows : tuple of tuple of int
        Top and bottom of each row of tiles.
    width : int
        Of a tile.
    """

    pixels: np.ndarray
    rows: tuple[tuple[int, int], ...]
    width: int


def mosaic(volume: Volume, view: View) -> Mosaic:
    """Lay out the slices of a view, on square pixels of the nearest voxel."""
    extent = (np.array(view.last) - view.first) * volume.voxel_size_mm
    pixel_mm = max(float(volume.voxel_size_mm.min()), float(extent.max()) / _MAX_TILE)
    sizes = np.maximum(1, np.round(extent / pixel_mm).astype(int))
    width = int(max(sizes[0], sizes[1]))
    # an odd number: the thumbnails of the group are cut from the middle
    per_row = max(_LEAST_PER_ROW, *(len(positions) for _, positions in view.rows)) | 1
    rows = []
    planes = {cut: (across, up) for cut, across, up in PLANES}
    for cut, positions in view.rows:
        across, up = planes[cut]
        columns = _nearest(view, across, sizes[across])
        lines = _nearest(view, up, sizes[up])[::-1]
        side = (width - len(columns)) // 2
        row = np.full((len(lines), width * per_row), np.nan, np.float32)
        for number, position in enumerate(positions):
            plane = volume.data[(slice(None),) * cut + (position,)]  # the rest keeps its order
            start = number * width + side
            row[:, start : start + len(columns)] = plane[np.ix_(columns, lines)].T
        rows.append(row)
    edges = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    bounds = tuple((int(a), int(b)) for a, b in pairwise(edges))
    return Mosaic(np.concatenate(rows), bounds, width)


def _nearest(view: View, axis: int, pixels: int) -> np.ndarray:
    """Return the voxels along an axis that so many pixels show."""
    length = view.last[axis] - view.first[axis]
    return view.first[axis] + ((np.arange(pixels) + 0.5) * length / pixels).astype(int)
