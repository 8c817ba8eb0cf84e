"""Whether a mask holds the brain and nothing else, and how much of it was measured."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from qsm_pipeline.numerics.core.depth import distance_mm
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.voxels import sum_around

_DARK, _BRIGHT = 0.25, 0.7
"""Of the median magnitude of the brain: darker is bone, air or no data, brighter is tissue."""
_BESIDE_MM = (2.5, 6.0)
"""This far outside a brain lie fluid, bone and scalp, bright and dark, not brain alone."""
_ALIKE, _AROUND_MM = 0.98, 15.0
"""So much of the layer within a cube of that width looks like brain where a part is cut off."""


def holes_percent(mask: Tensor) -> float | None:
    """Return the volume that a mask encloses without holding it, in percent of the mask.

    A voxel counts as enclosed if the mask lies around it within its slices along two axes or
    more; shape (X, Y, Z).
    """
    inside = mask.cpu().numpy()
    size = int(inside.sum())
    if not size:
        return None
    around = np.zeros(inside.shape, np.int8)
    for axis in range(3):
        slices, out = np.moveaxis(inside, axis, 0), np.moveaxis(around, axis, 0)
        for here, count in zip(slices, out, strict=True):
            count += ndimage.binary_fill_holes(here) & ~here
    return 100 * int((around >= 2).sum()) / size


def dark_percent(magnitude: Tensor, where: Tensor, brain: Tensor) -> float | None:
    """Return how many voxels are too dark for a brain, in percent.

    Bone, air and scalp near the surface of a mask, or values that overflowed within it. All of
    shape (X, Y, Z); ``magnitude`` is that of the first echo, ``where`` what is looked at.
    """
    if not where.any():
        return None
    limit = _DARK * magnitude[brain].median()
    return 100 * float((magnitude[where] < limit).double().mean())


def tissue_beside_percent(
    magnitude: Tensor, quality: Tensor, mask: Tensor, grid: Grid
) -> float | None:
    """Return how much of what lies just outside the mask looks like brain all around, in percent.

    Parameters
    ----------
    magnitude, quality : torch.Tensor, shape (X, Y, Z)
        First echo, and how well the phase of neighbours agrees, from 0 to 1.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Brain.
    grid : Grid
        Geometry.

    Returns
    -------
    float or None
        Of a layer :data:`_BESIDE_MM` outside. A lobe that was cut off leaves a wall of tissue;
        fluid and scalp look like brain too, but bone lies between them.
    """
    if not mask.any():
        return None
    near, far = _BESIDE_MM
    # the second voxel counts, however large it is
    steps = [min(size, 0.49 * far) for size in grid.voxel_size_mm]
    outside = torch.from_numpy(distance_mm((~mask).cpu().numpy(), steps)).to(mask.device)
    layer = (outside > near) & (outside <= far)
    if not layer.any():
        return None
    like_brain = (magnitude > _BRIGHT * magnitude[mask].median()) & (quality > 0.7)
    alike, around = layer & like_brain, layer
    for axis, size in enumerate(grid.voxel_size_mm):
        reach = round(_AROUND_MM / 2 / size)
        alike, around = (sum_around(x, axis, reach, torch.int32) for x in (alike, around))
    return 100 * float((alike > _ALIKE * around)[layer].double().mean())


def thinnest_mm(mask: Tensor, grid: Grid) -> float | None:
    """Return the shortest extent of a mask along the axes of its voxels, in mm."""
    where = mask.nonzero()
    if not len(where):
        return None
    extent = where.amax(0) - where.amin(0) + 1
    return min(float(n) * v for n, v in zip(extent, grid.voxel_size_mm, strict=True))
