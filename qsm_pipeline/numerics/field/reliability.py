"""Reliability of the field, for methods that weight their data."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from qsm_pipeline.numerics.core.bounding_box import BoundingBox
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.smoothing import moving_mean
from qsm_pipeline.numerics.core.voxels import any_of
from qsm_pipeline.numerics.params.field import ReliabilityParams, RimWeightParams


def reliability(
    field_noise_ppm: Tensor,
    relative_residual: Tensor,
    mask: Tensor,
    params: ReliabilityParams | None = None,
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
    params : ReliabilityParams, optional
        Parameters.

    Returns
    -------
    weights : torch.Tensor, shape (X, Y, Z)
        Inverse noise relative to the most precise decile, at most 1; zero outside the mask and
        where the residual exceeds ``max_relative_residual``.
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
    limit = (params or ReliabilityParams()).max_relative_residual
    return torch.where(relative_residual > limit, 0.0, weights), best


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


def steepness_weight(
    total_field_ppm: Tensor, mask: Tensor, params: ReliabilityParams | None = None
) -> Tensor:
    """Return how well voxels of this size can sample the field: from 1 (smooth) to 0 (steep).

    Next to air the mean field of a voxel is neither what its signal shows nor what the dipole
    model of its neighbours gives. Shapes as in :func:`steepest_step`.
    """
    steep_ppm = (params or ReliabilityParams()).steep_ppm
    return 1 / (1 + (steepest_step(total_field_ppm, mask) / steep_ppm).square()) * mask


def rim_weight(mask: Tensor, grid: Grid, params: RimWeightParams | None = None) -> Tensor:
    """Return a ramp from the mask's surface, near 0, to 1 at a depth of ``rim_mm``.

    Near the surface the local field cannot be told from the background, whichever way it was
    removed. Where the mask is thin along an axis the ramp is shorter, so that its middle counts.

    Parameters
    ----------
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where the local field is known.
    grid : Grid
        Geometry.
    params : RimWeightParams, optional
        Parameters.

    Returns
    -------
    torch.Tensor, shape (X, Y, Z)
        Weights in [0, 1]; zero outside the mask.
    """
    rim_mm = (params or RimWeightParams()).rim_mm
    if not any_of(mask):
        return mask.to(torch.float32)
    box = BoundingBox.of(mask, grid)
    inside = box.cut(mask)
    share = inside.to(torch.float32)
    for axis, (voxel, extent) in enumerate(zip(grid.voxel_size_mm, inside.shape, strict=True)):
        reach = min(round(rim_mm / voxel), extent // 4)
        ends = [reach if a == axis else 0 for a in (2, 2, 1, 1, 0, 0)]
        share = moving_mean(pad(share, ends), 2 * reach + 1, axis)
    return box.paste(share.mul_(2).sub_(1).clamp_(0, 1).mul_(inside))
