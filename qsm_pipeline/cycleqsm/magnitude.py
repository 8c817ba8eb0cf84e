"""The magnitude as the networks see it: contrasts, without unit and coil sensitivity."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d, interpolate, pad

from qsm_pipeline.numerics.grid import Grid

WINDOW_MM = 8.0
"""A third of the neighbourhood that a voxel is compared with."""


def magnitude_contrast(magnitude: Tensor, mask: Tensor, grid: Grid) -> Tensor:
    """Return by how much a magnitude differs from its mean in the neighbourhood.

    Parameters
    ----------
    magnitude : torch.Tensor, shape (X, Y, Z)
        In any unit, not negative.
    mask : torch.Tensor, shape (X, Y, Z)
        1 where it counts, elsewhere 0.
    grid : Grid
        Geometry.

    Returns
    -------
    torch.Tensor, shape (X, Y, Z)
        Relative difference in [-1, 1]; zero outside the mask, and where there is no signal.
    """
    windows = [max(1, round(WINDOW_MM / v)) for v in grid.voxel_size_mm]
    both = torch.stack([magnitude * mask, mask])[None]
    coarse = avg_pool3d(both, windows, ceil_mode=True, count_include_pad=False)
    total, share = avg_pool3d(pad(coarse, (1,) * 6), 3, stride=1)[0]
    mean = (total / share.clamp(min=1e-6))[None, None]
    size = [n * window for n, window in zip(mean.shape[-3:], windows, strict=True)]
    mean = interpolate(mean, size=size, mode="trilinear")[0, 0]
    nx, ny, nz = magnitude.shape
    mean = mean[:nx, :ny, :nz]
    known = (mask > 0) & (mean > 0)
    contrast = magnitude / torch.where(known, mean, 1.0) - 1
    return torch.where(known, contrast, 0.0).clamp(-1, 1)
