"""Lengths that mean anatomy, in heads of any size."""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor

from qsm_pipeline.numerics.core.grid import Grid

ADULT_MM3 = 1.2e6
"""Volume of an adult's brain with its fluid."""
UNCHANGED_MM3, SCALED_MM3 = 6e4, 2e4
"""For brains from newborns' to macaques' lengths stay as they are; those of rats and mice scale as
a whole, and in between it is something in between."""
FINE_MM = 0.4
"""Coarser voxels hold a part of a larger head, not a small animal."""


def length_scale(mask: Tensor, grid: Grid) -> float:
    """Return the size of a head relative to an adult's, as far as lengths are to follow it.

    Parameters
    ----------
    mask : torch.Tensor, shape (X, Y, Z), bool
        Brain.
    grid : Grid
        Geometry.

    Returns
    -------
    float
        In (0, 1]; 1 for heads of people and large animals, and for voxels of more than
        :data:`FINE_MM`.
    """
    volume = float(mask.sum()) * grid.voxel_volume_mm3
    if volume <= 0 or grid.voxel_volume_mm3 >= FINE_MM**3 or volume >= UNCHANGED_MM3:
        return 1.0
    edge = (SCALED_MM3 / ADULT_MM3) ** (1 / 3)
    if volume > SCALED_MM3:  # from 1 to that of the edge, straight in the logarithms
        return edge ** _share(volume)
    return (volume / ADULT_MM3) ** (1 / 3)


def head_sized(grid: Grid, mask: Tensor) -> Grid:
    """Return a grid in which a small animal has the size of an adult.

    The dipole kernel has no length of its own, so that fields and maps are the same; only lengths
    in mm, of windows, margins and radii, mean another number of voxels.

    Parameters
    ----------
    grid : Grid
        Geometry.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Brain.

    Returns
    -------
    Grid
        The same where :func:`length_scale` is 1.
    """
    scale = length_scale(mask, grid)
    if scale == 1:
        return grid
    x, y, z = (v / scale for v in grid.voxel_size_mm)
    return replace(grid, voxel_size_mm=(x, y, z))


def _share(volume_mm3: float) -> float:
    return math.log(UNCHANGED_MM3 / volume_mm3) / math.log(UNCHANGED_MM3 / SCALED_MM3)
