"""A map that is brighter or darker along the surface of its mask."""

from __future__ import annotations

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.depth import depth_mm
from qsm_pipeline.numerics.core.grid import Grid

RIM_MM = 3.0
"""Thickness of the rim; at least one voxel."""


def rim_ratio(chi_ppm: Tensor, mask: Tensor, grid: Grid) -> float | None:
    """Return the typical size of the susceptibility in the rim over that within.

    What background removal leaves behind is largest at the surface, where it looks like a rim.

    Parameters
    ----------
    chi_ppm : torch.Tensor, shape (X, Y, Z)
        Susceptibility.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where it is valid.
    grid : Grid
        Geometry.

    Returns
    -------
    float or None
        Median distance from the median of the inside, of the voxels at most :data:`RIM_MM` deep
        over those that are deeper. None if one of the two has no voxel or no contrast.
    """
    depth = depth_mm(mask.cpu().numpy(), grid)
    deep = torch.from_numpy(depth > max(RIM_MM, *grid.voxel_size_mm)).to(mask.device)
    rim = mask & ~deep
    if not (deep.any() and rim.any()):
        return None
    centre = chi_ppm[deep].median()
    within = float((chi_ppm[deep] - centre).abs().median())
    return float((chi_ppm[rim] - centre).abs().median()) / within if within > 0 else None
