"""Faults of what is computed from a scan: unwrapping, background removal, inversion."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.depth import depth_mm
from qsm_pipeline.numerics.core.fourier import fast_shape, irfft3, pad_to, rfft3
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.kernels import dipole_kernel
from qsm_pipeline.numerics.core.smoothing import GaussianBlur
from qsm_pipeline.numerics.simulate.field_errors import harmonic_residue

TURN = 2 * math.pi


def turned_region(
    unwrapped_rad: Tensor, mask: Tensor, grid: Grid, strength: float, g: torch.Generator
) -> Tensor:
    """Leave a turn too much in a ball of this radius (mm), in all echoes in proportion."""
    turns = TURN * ball(mask, grid, strength, g)
    return torch.stack([echo + (n + 1) * turns for n, echo in enumerate(unwrapped_rad)])


def turned_echo(
    unwrapped_rad: Tensor, mask: Tensor, grid: Grid, strength: float, g: torch.Generator
) -> Tensor:
    """Leave a turn too much in a ball of this radius (mm), in the last echo alone."""
    out = unwrapped_rad.clone()
    out[-1] += TURN * ball(mask, grid, strength, g)
    return out


def scattered_turns(
    unwrapped_rad: Tensor, mask: Tensor, grid: Grid, strength: float, g: torch.Generator
) -> Tensor:
    """Leave a turn too much or too little in this share of the voxels."""
    off = (torch.rand(mask.shape, generator=g) < strength) * TURN
    sign = torch.sign(torch.rand(mask.shape, generator=g) - 0.5)
    return unwrapped_rad + off * sign


def background_left(
    local_ppm: Tensor, mask: Tensor, grid: Grid, strength: float, g: torch.Generator
) -> Tensor:
    """Leave background, so many times the local field."""
    size = strength * float(local_ppm[mask].std())
    return local_ppm + harmonic_residue(mask, grid, size, g) * mask


def wrong_units(
    local_ppm: Tensor, mask: Tensor, grid: Grid, strength: float, g: torch.Generator
) -> Tensor:
    """Take a local field in other units for ppm: so many times too large."""
    return local_ppm * strength


def negated(
    local_ppm: Tensor, mask: Tensor, grid: Grid, strength: float, g: torch.Generator
) -> Tensor:
    """Give the local field the other sign."""
    return -local_ppm


def ramp_left(
    local_ppm: Tensor, mask: Tensor, grid: Grid, strength: float, g: torch.Generator
) -> Tensor:
    """Leave a linear field along the second axis, with this SD relative to the local field."""
    ramp = torch.linspace(-1.7, 1.7, mask.shape[1])[None, :, None]
    return (local_ppm + strength * float(local_ppm[mask].std()) * ramp) * mask


def noisy(
    chi_ppm: Tensor, mask: Tensor, grid: Grid, strength: float, g: torch.Generator
) -> Tensor:
    """Add white noise to the map, so many times its SD."""
    noise = torch.randn(mask.shape, generator=g)
    return chi_ppm + strength * float(chi_ppm[mask].std()) * noise * mask


def slice_steps_left(
    local_ppm: Tensor, mask: Tensor, grid: Grid, strength: float, g: torch.Generator
) -> Tensor:
    """Give each slice an offset, with this SD relative to the local field."""
    steps = strength * float(local_ppm[mask].std()) * torch.randn(mask.shape[2], generator=g)
    return (local_ppm + steps) * mask


def over_filtered(
    local_ppm: Tensor, mask: Tensor, grid: Grid, strength: float, g: torch.Generator
) -> Tensor:
    """Remove with the background all that is smoother than this SD in mm."""
    blur = GaussianBlur(grid, strength, local_ppm)
    inside = mask.to(local_ppm.dtype)
    return (local_ppm - blur(local_ppm * inside) / blur(inside).clamp(min=1e-3)) * mask


def streaks(
    chi_ppm: Tensor, mask: Tensor, grid: Grid, strength: float, g: torch.Generator
) -> Tensor:
    """Amplify what lies near the dipole's cone by this factor, with noise there."""
    shape = fast_shape(grid.shape)
    near = (dipole_kernel(grid, shape).abs() < 0.08).float()
    noise = float(chi_ppm[mask].std()) * torch.randn(mask.shape, generator=g)
    cone = irfft3(rfft3(pad_to((chi_ppm + 0.3 * noise) * mask, shape)) * near, shape)
    x, y, z = mask.shape
    return (chi_ppm + (strength - 1) * cone[:x, :y, :z]) * mask


def oversmoothed(
    chi_ppm: Tensor, mask: Tensor, grid: Grid, strength: float, g: torch.Generator
) -> Tensor:
    """Blur the map with this SD in mm, as too much regularisation does."""
    return GaussianBlur(grid, strength, chi_ppm)(chi_ppm * mask) * mask


def ball(mask: Tensor, grid: Grid, radius_mm: float, g: torch.Generator) -> Tensor:
    """Return a ball around a random voxel away from the surface."""
    depth = torch.from_numpy(depth_mm(mask.numpy(), grid))
    inside = (depth > 0.5 * float(depth[mask].max())).nonzero()
    place = inside[int(torch.randint(len(inside), (1,), generator=g))]
    squared = sum(
        ((torch.arange(n) - c) * v).reshape([-1 if a == i else 1 for a in range(3)]) ** 2
        for i, (n, c, v) in enumerate(zip(grid.shape, place, grid.voxel_size_mm, strict=True))
    )
    return squared < radius_mm**2
