"""The window through which the spectrum of a local field is seen."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.bounding_box import BoundingBox
from qsm_pipeline.numerics.core.fourier import fast_shape, irfft3, pad_to, rfft3
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.kernels import dipole_kernel
from qsm_pipeline.numerics.core.smoothing import GaussianBlur
from qsm_pipeline.numerics.core.voxels import sum_around

RAMP = 0.12
"""Width of the window's edge, over the cube root of the mask's volume: 13 mm in a head."""
LEAST_VOXELS = 64
LEAST_WEIGHT = 0.1
"""Voxels with less, relative to the largest, are holes: their noise would count for the rest. What
fills a hole is not exact either, so that holes of voxels whose noise is known do harm."""
BLUR_VOXELS = 1.15
"""Of the mean around that first fills holes, and of the window's dip there."""
FILLING_REGULARISATION, FILLING_ROUNDS = 0.01, 2


@dataclass(frozen=True)
class WindowedField:
    """A local field through a smooth window.

    Parameters
    ----------
    values_ppm : torch.Tensor, shape (X, Y, Z)
        Field times window in the padded box around the mask.
    window : torch.Tensor, shape (X, Y, Z)
        From 0 to 1.
    support : torch.Tensor, shape (X, Y, Z)
        1 in the mask, holes included.
    white_energy : float
        Power of white noise of unit variance at weight 1.
    grid : Grid
        Of the padded box.
    size_mm : float
        Cube root of the volume where the field is known.
    """

    values_ppm: Tensor
    window: Tensor
    support: Tensor
    white_energy: float
    grid: Grid
    size_mm: float


def windowed(
    local_field_ppm: Tensor, mask: Tensor, grid: Grid, weights: Tensor | None
) -> WindowedField | None:
    """Fill small holes of a field and taper it; None where hardly anything is left.

    Shapes and units as in :func:`~.estimate.estimate_field_error`.
    """
    voxels = int(mask.count_nonzero())
    if voxels < LEAST_VOXELS:
        return None
    box = BoundingBox.of(mask, grid)
    inside, field = box.cut(mask), box.cut(local_field_ppm)
    relative = inside.to(torch.float32)
    if weights is not None:
        relative *= box.cut(weights)
        relative /= relative.max()
    support, inside = inside, relative > LEAST_WEIGHT
    known = int(inside.count_nonzero())
    if known < LEAST_VOXELS:
        return None
    size_mm = (known * grid.voxel_volume_mm3) ** (1 / 3)
    field = torch.where(inside, field, 0.0)
    window = _taper(inside, size_mm, grid.voxel_size_mm)
    hole = support & ~inside if known < voxels else None
    if hole is not None:
        in_voxels = replace(box.inner, voxel_size_mm=(1.0, 1.0, 1.0))
        blur = GaussianBlur(in_voxels, BLUR_VOXELS, window)
        share = blur(inside.to(window))
        field = torch.where(hole, blur(field) / share.clamp(min=1e-6), field)
        window *= share
    if float(window.square().sum()) < LEAST_VOXELS:
        return None
    variance = torch.where(inside, relative.clamp(min=LEAST_WEIGHT) ** -2, 0.0)
    white_energy = float((window.square() * variance).sum())
    shape = fast_shape(inside.shape)
    padded = Grid(shape, grid.voxel_size_mm, grid.b0_dir)
    field, window = pad_to(field, shape), pad_to(window, shape)
    in_mask = pad_to(support.to(window), shape)
    if hole is not None:
        field = _explained(field, pad_to(hole, shape), in_mask, padded)
    return WindowedField(field * window, window, in_mask, white_energy, padded, size_mm)


def _explained(field: Tensor, missing: Tensor, support: Tensor, grid: Grid) -> Tensor:
    """Put into the holes the field of a susceptibility that explains the field around them.

    Holes lie at the strongest sources, where the mean around is far from the field.
    """
    dipole = dipole_kernel(grid, device=field.device)
    inverse = dipole / (dipole.square() + FILLING_REGULARISATION)
    for _ in range(FILLING_ROUNDS):
        chi = irfft3(rfft3(field * support).mul_(inverse), grid.shape).mul_(support)
        field = torch.where(missing, irfft3(rfft3(chi).mul_(dipole), grid.shape), field)
    return field


def _taper(inside: Tensor, size_mm: float, voxel_size_mm: tuple[float, ...]) -> Tensor:
    """Rise from 0 at the surface to 1 at a depth, with small holes hardly seen."""
    share = inside.to(torch.float32)
    for axis, voxel in enumerate(voxel_size_mm):
        reach = max(1, round(RAMP * size_mm / voxel))
        reach = min(reach, inside.shape[axis] // 4)
        share = sum_around(share, axis, reach).div_(2 * reach + 1)
    share = ((2 * share - 1) / max(float(2 * share.max() - 1), 1e-6)).clamp(0, 1)
    return torch.sin(0.5 * math.pi * share).square()
