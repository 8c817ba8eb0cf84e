"""Laplacian unwrapping."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.gradients import gradient, gradient_adjoint
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.params.none import NoParams
from qsm_pipeline.numerics.unwrap.problem import UnwrapProblem


def laplacian(problem: UnwrapProblem, params: NoParams | None = None) -> Tensor:
    r"""Unwrap by solving :math:`\nabla^2\phi = \cos\psi\nabla^2\sin\psi-\sin\psi\nabla^2\cos\psi`.

    Parameters
    ----------
    problem : UnwrapProblem
        Wrapped phase.
    params : NoParams, optional
        None.

    Returns
    -------
    torch.Tensor, shape (E, X, Y, Z)
        Phase without wraps in radians, zero outside the mask. It is not congruent to the input
        and has lost part of the background field.

    Notes
    -----
    Cosine transforms solve it with Neumann boundaries. With the 7-point Laplacian the right-hand
    side is the divergence of the sine of the phase steps.

    References
    ----------
    Schofield & Zhu 2003, doi:10.1364/OL.28.001194.
    """
    del params
    voxel_size_mm = problem.grid.voxel_size_mm
    eigenvalues = _eigenvalues(problem.grid, problem.phase_rad)
    out = torch.empty_like(problem.phase_rad)
    for echo, wrapped in enumerate(problem.phase_rad):
        x = _source(torch.nan_to_num(wrapped), voxel_size_mm)
        for axis in range(3):
            x = _cosine_transform(x, axis)
        x /= eigenvalues
        for axis in range(3):
            x = _inverse_cosine_transform(x, axis)
        out[echo] = x
    return out * problem.mask


def _source(wrapped_rad: Tensor, voxel_size_mm: Sequence[float]) -> Tensor:
    """Return the Laplacian of the phase without wraps in rad/mm^2."""
    steps = gradient(wrapped_rad, voxel_size_mm)
    for step, voxel in zip(steps, voxel_size_mm, strict=True):
        step.mul_(voxel).sin_().div_(voxel)
    return -gradient_adjoint(steps, voxel_size_mm)


def _eigenvalues(grid: Grid, like: Tensor) -> Tensor:
    """Return those of the 7-point Laplacian in 1/mm^2; infinity for a constant, which it loses."""
    total = torch.zeros((), dtype=torch.float64, device=like.device)
    for axis, (n, voxel) in enumerate(zip(grid.shape, grid.voxel_size_mm, strict=True)):
        k = torch.arange(n, dtype=torch.float64, device=like.device)
        along = 2 * (torch.cos(math.pi * k / n) - 1) / voxel**2
        total = total + along.reshape([-1 if a == axis else 1 for a in range(3)])
    total[0, 0, 0] = math.inf
    return total.to(like.dtype)


def _cosine_transform(x: Tensor, axis: int) -> Tensor:
    """Return the type-II cosine transform along an axis."""
    n = x.shape[axis]
    spectrum = torch.fft.rfft(torch.cat([x, x.flip(axis)], dim=axis), dim=axis)
    return (spectrum.narrow(axis, 0, n) * _half_shift(x, axis).conj()).real


def _inverse_cosine_transform(x: Tensor, axis: int) -> Tensor:
    """Undo :func:`_cosine_transform`."""
    n = x.shape[axis]
    return torch.fft.irfft(x * _half_shift(x, axis), n=2 * n, dim=axis).narrow(axis, 0, n)


def _half_shift(x: Tensor, axis: int) -> Tensor:
    """Return the phase factor of half a voxel, shaped to broadcast."""
    n = x.shape[axis]
    angle = math.pi / (2 * n) * torch.arange(n, dtype=x.dtype, device=x.device)
    shape = [-1 if a == axis else 1 for a in range(3)]
    return torch.polar(torch.ones_like(angle), angle).reshape(shape)
