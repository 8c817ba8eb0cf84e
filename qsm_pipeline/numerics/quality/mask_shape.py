"""Size and compactness of a mask."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.grid import Grid


def volume_ml(mask: Tensor, grid: Grid) -> float:
    """Return the volume of a mask, shape (X, Y, Z), in ml."""
    return float(mask.sum()) * grid.voxel_volume_mm3 / 1000


def compactness(mask: Tensor, grid: Grid) -> float | None:
    """Return the sphericity: the surface of the ball of the same volume over that of the mask.

    Parameters
    ----------
    mask : torch.Tensor, shape (X, Y, Z), bool
        Mask; the border of the volume counts as its surface.
    grid : Grid
        Geometry.

    Returns
    -------
    float or None
        1 for a ball; less the more ragged, flat or holed. None for an empty mask.

    Notes
    -----
    The faces between voxels overestimate a surface by 3/2 on average over its orientations
    (Cauchy's formula), exactly so for a ball.

    References
    ----------
    Wadell 1935, doi:10.1086/624298.
    """
    volume_mm3 = 1000 * volume_ml(mask, grid)
    if volume_mm3 == 0:
        return None
    surface_mm2 = 0.0
    padded = torch.nn.functional.pad(mask.to(torch.int8), (1, 1) * 3)
    for axis, voxel in enumerate(grid.voxel_size_mm):
        faces = int(torch.diff(padded, dim=axis).abs().sum())
        surface_mm2 += faces * grid.voxel_volume_mm3 / voxel
    return math.pi ** (1 / 3) * (6 * volume_mm3) ** (2 / 3) / (2 / 3 * surface_mm2)
