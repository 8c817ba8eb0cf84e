"""Reliability of the field, for methods that weight their data."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from qsm_pipeline.numerics.core.bounding_box import BoundingBox
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.smoothing import moving_mean

MAX_RELATIVE_RESIDUAL = 0.3
"""Voxels whose signal the fit explains worse get no weight (doi:10.1002/mrm.30006)."""

STEEP_PPM = 0.2
"""A field that changes by this much from voxel to voxel is believed half as much."""

RIM_MM = 4.0
"""Depth under the surface from which the local field counts fully."""


def reliability(
    field_noise_ppm: Tensor, relative_residual: Tensor, mask: Tensor
) -> tuple[Tensor, float]:
    """Turn the noise of the field into weights in [0, 1].

    Parameters
    ----------
    field_noise_ppm : torch.Tensor, shape (X, Y, Z)
        Standard deviation of the field.
    relative_residual : torch.Tensor, shape (X, Y, Z)
        Fraction of the signal that the field fit does not explain.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Brain.

    Returns
    -------
    weights : torch.Tensor, shape (X, Y, Z)
        Inverse noise relative to the most precise decile, at most 1; zero outside the mask and
        where the residual exceeds :data:`MAX_RELATIVE_RESIDUAL`.
    noise_ppm : float
        Standard deviation of the field where the weight is 1.
    """
    values = field_noise_ppm[mask]
    values = values[torch.isfinite(values)]
    # kthvalue, since torch.quantile refuses more than 16 million values
    best = float(values.kthvalue(max(1, values.numel() // 10)).values) if values.numel() else 0.0
    if best <= 0:
        return mask.to(field_noise_ppm.dtype), 0.0
    weights = (best / field_noise_ppm.clamp(min=best)) * mask
    return torch.where(relative_residual > MAX_RELATIVE_RESIDUAL, 0.0, weights), best


def steepest_step(field_ppm: Tensor, mask: Tensor) -> Tensor:
    """Return the largest difference between a voxel and its neighbours in the mask.

    Parameters
    ----------
    field_ppm : torch.Tensor, shape (X, Y, Z)
        Field.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where it is known.

    Returns
    -------
    torch.Tensor, shape (X, Y, Z)
        In ppm, not negative; zero outside the mask.
    """
    steepest = torch.zeros_like(field_ppm)
    for axis in range(3):
        n = mask.shape[axis]
        sides = ((0, n - 1), (1, n - 1))
        both = mask.narrow(axis, *sides[0]) & mask.narrow(axis, *sides[1])
        step = torch.diff(field_ppm, dim=axis).abs() * both
        for side in sides:
            here = steepest.narrow(axis, *side)
            here.copy_(torch.maximum(here, step))
    return steepest


def steepness_weight(total_field_ppm: Tensor, mask: Tensor) -> Tensor:
    """Return how well voxels of this size can sample the field: from 1 (smooth) to 0 (steep).

    Next to air the mean field of a voxel is neither what its signal shows nor what the dipole
    model of its neighbours gives. Shapes as in :func:`steepest_step`.
    """
    return 1 / (1 + (steepest_step(total_field_ppm, mask) / STEEP_PPM).square()) * mask


def rim_weight(mask: Tensor, grid: Grid) -> Tensor:
    """Return a ramp from the mask's surface, near 0, to 1 at a depth of :data:`RIM_MM`.

    Near the surface the local field cannot be told from the background, whichever way it was
    removed. Where the mask is thin along an axis the ramp is shorter, so that its middle counts.

    Parameters
    ----------
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where the local field is known.
    grid : Grid
        Geometry.

    Returns
    -------
    torch.Tensor, shape (X, Y, Z)
        Weights in [0, 1]; zero outside the mask.
    """
    if not mask.any():
        return mask.to(torch.float32)
    box = BoundingBox.of(mask, grid)
    inside = box.cut(mask)
    share = inside.to(torch.float32)
    for axis, (voxel, extent) in enumerate(zip(grid.voxel_size_mm, inside.shape, strict=True)):
        reach = min(round(RIM_MM / voxel), extent // 4)
        ends = [reach if a == axis else 0 for a in (2, 2, 1, 1, 0, 0)]
        share = moving_mean(pad(share, ends), 2 * reach + 1, axis)
    return box.paste(share.mul_(2).sub_(1).clamp_(0, 1).mul_(inside))
