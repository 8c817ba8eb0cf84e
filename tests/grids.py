"""Grids that every operator and method is tested on."""

import numpy as np
import torch

from qsm_pipeline.numerics.core.grid import Grid

_OBLIQUE = tuple(np.array([0.3, -0.2, 0.93]))

GRIDS = {
    "non-cubic": Grid((24, 30, 20), (1.0, 1.0, 1.0), (0.0, 0.0, 1.0)),
    "anisotropic": Grid((24, 30, 16), (0.8, 1.0, 2.0), (0.0, 0.0, 1.0)),
    "oblique": Grid((25, 28, 19), (1.0, 0.7, 1.6), _OBLIQUE),
}


def position_mm(
    grid: Grid, centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> torch.Tensor:
    """Place of every voxel, shape (3, X, Y, Z), from a point given from the middle of the grid."""
    axes = [
        (torch.arange(n) - n / 2) * v - c
        for n, v, c in zip(grid.shape, grid.voxel_size_mm, centre_mm, strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def radius_mm(grid: Grid, centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> torch.Tensor:
    """Distance of every voxel to a point given from the middle of the grid."""
    return position_mm(grid, centre_mm).norm(dim=0)
