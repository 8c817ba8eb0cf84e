"""Errors of local fields as scanners make them: coloured, harmonic, linked to the anatomy."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d

from qsm_pipeline.numerics.core.dipole import DipoleOperator
from qsm_pipeline.numerics.core.fourier import crop_to, fast_shape, frequencies, irfft3, rfft3
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.field_error import FieldError

HARMONIC_SHARE = 0.35
"""Of the variance of the coloured part, in :func:`structured_error`."""
TAIL = 1.5
"""How much the other part grows towards strong sources, there."""


def coloured_error(grid: Grid, error: FieldError, generator: torch.Generator) -> Tensor:
    """Return an error of random phase whose density is that of the coloured part of ``error``.

    Parameters
    ----------
    grid : Grid
        Geometry.
    error : FieldError
        Spectrum.
    generator : torch.Generator
        Decides the phases.

    Returns
    -------
    torch.Tensor, shape (X, Y, Z)
        In ppm, not periodic.
    """
    shape = fast_shape(grid.shape, [n // 3 for n in grid.shape])
    axes = frequencies(shape, grid.voxel_size_mm, dtype=torch.float32)
    frequency = (axes[0].square() + axes[1].square() + axes[2].square()).sqrt()
    amplitude = error.coloured_density(frequency).sqrt()
    amplitude[0, 0, 0] = 0
    white = torch.randn(shape, generator=generator)
    return crop_to(irfft3(rfft3(white).mul_(amplitude), shape), grid.shape).contiguous()


def white_error(
    grid: Grid, error: FieldError, generator: torch.Generator, weights: Tensor | None = None
) -> Tensor:
    """Return the white part of an error: ``n0_ppm`` over the weights, at most ten times that."""
    white = error.n0_ppm * torch.randn(grid.shape, generator=generator)
    return white if weights is None else white / weights.clamp(min=0.1)


def harmonic_residue(
    mask: Tensor, grid: Grid, rms_ppm: float, generator: torch.Generator
) -> Tensor:
    """Return the field that smooth random sources outside a mask have in it.

    Parameters
    ----------
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where there are no sources.
    grid : Grid
        Geometry.
    rms_ppm : float
        Root mean square in the mask.
    generator : torch.Generator
        Decides the sources.

    Returns
    -------
    torch.Tensor, shape (X, Y, Z)
        In ppm, harmonic in the mask, largest at its surface.
    """
    sources = coloured_error(grid, FieldError(1.0, 0.1, 4.0), generator) * ~mask
    return _scaled(DipoleOperator(grid)(sources), mask, rms_ppm)


def anatomy_linked(
    chi_ppm: Tensor, mask: Tensor, grid: Grid, rms_ppm: float, generator: torch.Generator
) -> Tensor:
    """Return shifts that follow the tissue, but not by the dipole: as of fibres' microstructure.

    The contrast of the tissues is multiplied by a smooth random function, as the direction of
    fibres is. Parameters as in :func:`harmonic_residue`; ``chi_ppm`` is the true map.
    """
    direction = coloured_error(grid, FieldError(1.0, 0.05, 5.0), generator)
    contrast = (chi_ppm - chi_ppm[mask].mean()) * mask
    limit = 2 * contrast[mask].std()
    return _scaled(contrast.clamp(-limit, limit) * direction, mask, rms_ppm)


def structured_error(
    chi_ppm: Tensor, mask: Tensor, grid: Grid, error: FieldError, generator: torch.Generator
) -> Tensor:
    """Return a coloured error of the same strength that is not of random phase.

    A share of its variance is harmonic, a tenth follows the tissue, and the rest grows towards
    strong sources, so that its tails are heavy. Parameters as in the functions above.
    """
    coloured = coloured_error(grid, error, generator)
    rms = float(coloured[mask].std())
    strength = avg_pool3d(chi_ppm.abs()[None, None], 5, 1, 2)[0, 0]
    near = (strength / strength[mask].mean()).clamp(max=12) ** TAIL
    shares = {"harmonic": HARMONIC_SHARE, "anatomy": 0.1}
    heavy = _scaled(coloured * (0.5 + near), mask, rms * math.sqrt(1 - sum(shares.values())))
    harmonic = harmonic_residue(mask, grid, rms * math.sqrt(shares["harmonic"]), generator)
    linked = anatomy_linked(chi_ppm, mask, grid, rms * math.sqrt(shares["anatomy"]), generator)
    return heavy + harmonic + linked


def nyquist_stripes(
    grid: Grid, amplitude_ppm: float, axis: int, generator: torch.Generator
) -> Tensor:
    """Return stripes whose sign changes from voxel to voxel along an axis, in smooth patches."""
    patches = coloured_error(grid, FieldError(1.0, 0.05, 5.0), generator)
    sign = 1 - 2.0 * (torch.arange(grid.shape[axis]) % 2)
    sign = sign.reshape([-1 if a == axis else 1 for a in range(3)])
    return amplitude_ppm * sign * (patches / patches.std()).clamp(-2, 2)


def slice_steps(grid: Grid, amplitude_ppm: float, axis: int, generator: torch.Generator) -> Tensor:
    """Return an offset of every slice along an axis, with this standard deviation."""
    steps = amplitude_ppm * torch.randn(grid.shape[axis], generator=generator)
    return steps.reshape([-1 if a == axis else 1 for a in range(3)]).expand(grid.shape).clone()


def _scaled(x: Tensor, mask: Tensor, rms_ppm: float) -> Tensor:
    inside = x[mask] - x[mask].mean()
    return (x - x[mask].mean()) * (rms_ppm / inside.square().mean().sqrt().clamp(min=1e-12))
