"""How deep voxels lie below the surface of a mask."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from qsm_pipeline.numerics.core.grid import Grid


def depth_mm(mask: np.ndarray, grid: Grid) -> np.ndarray:
    """Return the distance of each voxel of a mask from the nearest voxel outside of it.

    Parameters
    ----------
    mask : numpy.ndarray, shape (X, Y, Z), bool
        Mask. Beyond the border of the volume it counts as going on, or slabs would end there.
    grid : Grid
        Geometry.

    Returns
    -------
    numpy.ndarray, shape (X, Y, Z)
        In mm; 0 outside the mask.
    """
    padded = np.pad(mask, 1, mode="edge")
    return ndimage.distance_transform_edt(padded, grid.voxel_size_mm)[1:-1, 1:-1, 1:-1]
