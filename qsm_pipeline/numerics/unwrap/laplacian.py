"""Laplacian unwrapping."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from qsm_pipeline.numerics.fourier import irfft3, rfft3
from qsm_pipeline.numerics.grid import Grid
from qsm_pipeline.numerics.kernels import laplacian_kernel
from qsm_pipeline.numerics.operators import gradient, gradient_adjoint
from qsm_pipeline.numerics.unwrap.problem import UnwrapProblem


@dataclass(frozen=True)
class LaplacianParams:
    """Laplacian unwrapping has no parameters."""


def laplacian(problem: UnwrapProblem, params: LaplacianParams | None = None) -> Tensor:
    r"""Unwrap by solving :math:`\nabla^2\phi = \cos\psi\nabla^2\sin\psi-\sin\psi\nabla^2\cos\psi`.

    Parameters
    ----------
    problem : UnwrapProblem
        Wrapped phase.
    params : LaplacianParams, optional
        None.

    Returns
    -------
    torch.Tensor, shape (E, X, Y, Z)
        Phase without wraps in radians, zero outside the mask. It is not congruent to the input
        and has lost part of the background field.

    Notes
    -----
    The volume is mirrored at its borders, which makes the periodic solution that of Neumann
    boundaries. With the 7-point Laplacian the right-hand side is the divergence of the sine of
    the phase steps.

    References
    ----------
    Schofield & Zhu 2003, doi:10.1364/OL.28.001194.
    """
    del params
    shape, voxel_size_mm = problem.grid.shape, problem.grid.voxel_size_mm
    mirrored = Grid(tuple(2 * n for n in shape), voxel_size_mm)
    phase = problem.phase_rad
    kernel = laplacian_kernel(mirrored, device=phase.device, dtype=phase.dtype)
    inverse = torch.where(kernel == 0, 0.0, 1 / torch.where(kernel == 0, 1.0, kernel))
    out = torch.empty_like(phase)
    for echo, wrapped in enumerate(phase):
        steps = gradient(torch.nan_to_num(wrapped), voxel_size_mm)
        for step, voxel in zip(steps, voxel_size_mm, strict=True):
            step.mul_(voxel).sin_().div_(voxel)
        source = -gradient_adjoint(steps, voxel_size_mm)
        for axis in range(3):
            source = torch.cat([source, source.flip(axis)], dim=axis)
        smooth = irfft3(rfft3(source) * inverse, mirrored.shape)
        out[echo] = smooth[: shape[0], : shape[1], : shape[2]]
    return out * problem.mask
