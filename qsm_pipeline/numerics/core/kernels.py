"""Convolution kernels on the half spectrum: dipole, Laplacian, spherical mean value."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.fourier import frequencies, offsets_mm, rfft3
from qsm_pipeline.numerics.core.grid import Grid


def dipole_kernel(
    grid: Grid,
    shape: Sequence[int] | None = None,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    r"""Return the unit dipole response :math:`D = 1/3 - (k\cdot b)^2/|k|^2`.

    Parameters
    ----------
    grid : Grid
        Voxel size and B0 direction.
    shape : sequence of int, optional
        FFT shape; the grid's own by default.
    device, dtype
        Of the result.

    Returns
    -------
    torch.Tensor, shape (shape[0], shape[1], shape[2] // 2 + 1)
        Values in [-2/3, 1/3]; 0 at the centre of k-space.

    Notes
    -----
    On the Nyquist planes of even axes the frequency has no sign, so the product of two
    different components is averaged over both signs (it vanishes). Without this an oblique B0
    gives a kernel that is not that of a real, symmetric operator.

    References
    ----------
    Marques & Bowtell 2005, doi:10.1002/cmr.b.20034; Salomir 2003, doi:10.1002/cmr.b.10083.
    """
    shape = tuple(shape or grid.shape)
    axes = frequencies(shape, grid.voxel_size_mm, device=device)
    signed = []
    for k, n, voxel in zip(axes, shape, grid.voxel_size_mm, strict=True):
        nyquist = (2 * k.abs() * voxel > 1 - 1e-6) & (n % 2 == 0)
        signed.append(torch.where(nyquist, 0.0, k))
    b = grid.b0_dir
    x, y, z = axes
    squared = x * x + y * y + z * z
    along = (b[0] * x) ** 2 + (b[1] * y) ** 2 + (b[2] * z) ** 2
    for i, j in ((0, 1), (0, 2), (1, 2)):
        along = along + 2 * b[i] * b[j] * signed[i] * signed[j]
    squared[0, 0, 0] = 1.0
    kernel = 1 / 3 - along / squared
    kernel[0, 0, 0] = 0.0
    return kernel.to(dtype)


def laplacian_kernel(
    grid: Grid,
    shape: Sequence[int] | None = None,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return the periodic 7-point Laplacian in 1/mm^2, shaped as :func:`dipole_kernel`."""
    shape = tuple(shape or grid.shape)
    axes = frequencies(shape, (1.0, 1.0, 1.0), device=device)
    x, y, z = (
        2 * (torch.cos(2 * math.pi * k) - 1) / voxel**2
        for k, voxel in zip(axes, grid.voxel_size_mm, strict=True)
    )
    return (x + y + z).to(dtype)


def smv_kernel(
    grid: Grid,
    radius_mm: float,
    shape: Sequence[int] | None = None,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return the spherical-mean-value kernel: a normalised ball of ``radius_mm``.

    The ball holds the voxels whose centres are within the radius, at least the centre itself;
    its transform is real because the ball is symmetric. Where voxels are not cubes, or few, such a
    ball is longer along one axis than another, and the mean of a harmonic field over it is not its
    value at the centre. Weights that differ from 1 by a quadratic form make its second moments
    equal. Shaped as :func:`dipole_kernel`.
    """
    shape = tuple(shape or grid.shape)
    squares = [x.square() for x in offsets_mm(shape, grid.voxel_size_mm, device=device)]
    squared = squares[0] + squares[1] + squares[2]
    inside = squared <= radius_mm**2 * (1 + 1e-9)
    unequal = torch.stack([(s - squared / 3)[inside] for s in squares[:2]]) / radius_mm**2
    excess = torch.linalg.pinv(unequal @ unequal.T, hermitian=True) @ unequal.sum(1)
    weights = 1 - excess @ unequal
    ball = torch.zeros(shape, dtype=weights.dtype, device=device)
    ball[inside] = weights / weights.sum()
    return rfft3(ball).real.to(dtype)
