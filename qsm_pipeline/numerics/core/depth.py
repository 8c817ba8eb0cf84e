"""How deep voxels lie below the surface of a mask."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qsm_pipeline.numerics.core.bounding_box import box_slices
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.jit import jit


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
    numpy.ndarray, shape (X, Y, Z), float32
        In mm; 0 outside the mask, infinite if nothing is outside of it.
    """
    return distance_mm(mask, grid.voxel_size_mm)


def distance_mm(mask: np.ndarray, voxel_size_mm: Sequence[float]) -> np.ndarray:
    """Return :func:`depth_mm` for any voxel size.

    References
    ----------
    Felzenszwalb & Huttenlocher 2012, doi:10.4086/toc.2012.v008a019.
    """
    out = np.zeros(mask.shape, np.float32)
    box = box_slices(mask, 1)  # the nearest voxel outside is never farther than the next to it
    if box is not None:
        out[box] = _distance(np.ascontiguousarray(mask[box]), np.array(voxel_size_mm, float))
    return out


def warm_up() -> None:
    """Find a depth: the first call of a compiled function takes a fifth of a second."""
    distance_mm(np.ones((2, 2, 2), bool), (1.0, 1.0, 1.0))


@jit
def _lower_envelope(line, voxel_mm, centres, begins, out):
    """Write the least ``line[q] + ((p - q) voxel_mm)^2`` over ``q`` for each ``p``."""
    count = -1
    for q in range(line.size):
        if line[q] == np.inf:
            continue
        begin = -np.inf
        while count >= 0:
            v = centres[count]
            height = (line[q] - line[v]) / voxel_mm**2
            begin = (height / (q - v) + q + v) / 2  # from here on the parabola of q is lower
            if begin > begins[count]:
                break
            count -= 1
            begin = -np.inf
        count += 1
        centres[count], begins[count] = q, begin
    if count < 0:
        out[:] = np.inf
        return
    k = 0
    for p in range(line.size):
        while k < count and begins[k + 1] < p:
            k += 1
        out[p] = line[centres[k]] + ((p - centres[k]) * voxel_mm) ** 2


@jit
def _distance(mask, voxel_size_mm):
    """Return the distances within a volume, one axis after the other."""
    nx, ny, nz = mask.shape
    squared = np.empty((nx, ny, nz), np.float64)
    centres, begins = np.empty(max(nx, ny), np.int64), np.empty(max(nx, ny), np.float64)
    before, after = np.empty((nz, ny)), np.empty((nz, ny))  # the lines of a plane, contiguous
    for x in range(nx):
        for y in range(ny):
            steps = np.inf
            for z in range(nz):
                steps = steps + 1 if mask[x, y, z] else 0.0
                before[z, y] = steps
            steps = np.inf
            for z in range(nz - 1, -1, -1):
                steps = steps + 1 if mask[x, y, z] else 0.0
                before[z, y] = (min(steps, before[z, y]) * voxel_size_mm[2]) ** 2
        for z in range(nz):
            _lower_envelope(before[z], voxel_size_mm[1], centres, begins, after[z])
        squared[x] = after.T
    out = np.empty((nx, ny, nz), np.float32)
    before, after = np.empty((nz, nx)), np.empty((nz, nx))
    for y in range(ny):
        before[:] = squared[:, y].T
        for z in range(nz):
            _lower_envelope(before[z], voxel_size_mm[0], centres, begins, after[z])
        out[:, y] = np.sqrt(after).T
    return out
