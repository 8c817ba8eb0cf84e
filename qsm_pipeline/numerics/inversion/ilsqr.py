"""iLSQR: least squares, less the streaks that appear where nothing else is."""

from __future__ import annotations

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.gradients import (
    cyclic_gradient,
    cyclic_gradient_adjoint,
    gradient_length,
)
from qsm_pipeline.numerics.core.kernels import smv_kernel
from qsm_pipeline.numerics.core.order import upper_fraction
from qsm_pipeline.numerics.core.solvers import conjugate_gradient
from qsm_pipeline.numerics.inversion.least_squares import least_squares
from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.inversion.regularisation import tikhonov_weight
from qsm_pipeline.numerics.inversion.spectral import SpectralBox
from qsm_pipeline.numerics.params.inversion import IlsqrParams


def ilsqr(problem: InversionProblem, params: IlsqrParams | None = None) -> Tensor:
    """Subtract from the least-squares map what explains its gradients by the cone alone.

    The edges of a fast estimate, the field times the sign of the dipole kernel, tell where the
    gradients of the map are its own.

    Parameters
    ----------
    problem : InversionProblem
        Local field, optionally with weights.
    params : IlsqrParams, optional
        Parameters.

    Returns
    -------
    torch.Tensor, shape (X, Y, Z)
        Susceptibility in ppm, zero outside the mask.

    References
    ----------
    Li et al. 2015, doi:10.1016/j.neuroimage.2014.12.043; for the fast estimate Li et al. 2011,
    doi:10.1016/j.neuroimage.2010.11.088.
    """
    params = params or IlsqrParams()
    box = SpectralBox(problem, params.margin_mm)
    given = params.regularisation
    penalty = tikhonov_weight(box, problem) if given is None else given
    chi = least_squares(
        box,
        box.weights(problem),
        box.dipole.kernel,
        params.tolerance,
        params.least_squares_iterations,
        penalty=penalty,
    )
    return box.unpad(chi - _streaks(box, chi, params))


def _streaks(box: SpectralBox, chi: Tensor, params: IlsqrParams) -> Tensor:
    """Return the map inside the cone whose gradients fit those of ``chi`` where it is flat."""
    cone = (box.dipole.kernel.abs() < params.cone_threshold).to(chi)
    cone[0, 0, 0] = 0
    flat = _flatness(box, params).square()
    work = chi.new_empty((3, *chi.shape))

    def in_cone(x: Tensor) -> Tensor:
        return box.dipole.back(box.dipole.spectrum(x).mul_(cone))

    def stiffness(x: Tensor) -> Tensor:
        gradients = cyclic_gradient(x, box.inverse_voxel, work).mul_(flat)
        return in_cone(cyclic_gradient_adjoint(gradients, box.inverse_voxel))

    return conjugate_gradient(
        lambda x: stiffness(in_cone(x)),
        stiffness(chi),
        tolerance=params.tolerance,
        max_iterations=params.streak_iterations,
    )


def _flatness(box: SpectralBox, params: IlsqrParams) -> Tensor:
    """Return 1 where the fast estimate is flat and 0 on its edges, with a ramp between."""
    like = box.field_ppm
    smooth = smv_kernel(box.grid, 2.0, box.shape, device=like.device, dtype=like.dtype)
    spectrum = box.dipole.spectrum(like).mul_(torch.sign(box.dipole.kernel)).mul_(smooth)
    steepness = gradient_length(box.dipole.back(spectrum), box.inverse_voxel)
    inside = steepness[box.mask]
    low = upper_fraction(inside, 1 - params.flat_fraction)
    high = upper_fraction(inside, params.steep_fraction)
    ramp = (high - steepness) / max(high - low, 1e-30)
    return torch.where(box.mask, ramp.clamp(0, 1), 1.0)
