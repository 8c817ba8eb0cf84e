"""iLSQR: least squares, less the streaks that appear where nothing else is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from qsm_pipeline.numerics.inversion.least_squares import least_squares
from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.inversion.regularisation import tikhonov_weight
from qsm_pipeline.numerics.inversion.spectral import (
    SpectralBox,
    cyclic_gradient,
    cyclic_gradient_adjoint,
    gradient_length,
)
from qsm_pipeline.numerics.kernels import smv_kernel
from qsm_pipeline.numerics.order import upper_fraction
from qsm_pipeline.numerics.solvers import conjugate_gradient


@dataclass(frozen=True)
class IlsqrParams:
    """Parameters of iLSQR.

    Parameters
    ----------
    tolerance : float
        Relative residual at which the least squares and the streaks stop.
    least_squares_iterations, streak_iterations : int
        Largest numbers of iterations.
    regularisation : float, optional
        Weight of the squared susceptibility in the least squares; by default it follows the
        field's error at each frequency.
    cone_threshold : float
        Streaks have their spectrum where the dipole kernel is smaller than this.
    flat_fraction, steep_fraction : float
        Gradients count fully in the flattest part of the mask, and not in the steepest.
    margin_mm : float
        Zero padding around the mask.
    """

    tolerance: float = 0.01
    least_squares_iterations: int = 30
    streak_iterations: int = 30
    regularisation: float | None = None
    cone_threshold: float = 0.1
    flat_fraction: float = 0.5
    steep_fraction: float = 0.3
    margin_mm: float = 16.0

    def __post_init__(self) -> None:
        if not 0 < self.cone_threshold < 1 / 3 or not self.tolerance > 0:
            raise ValueError(f"Expected 0 < cone_threshold < 1/3 and tolerance > 0, got {self}")
        if self.regularisation is not None and not self.regularisation >= 0:
            raise ValueError(f"Expected regularisation >= 0, got {self.regularisation}")
        if min(self.least_squares_iterations, self.streak_iterations) < 1:
            raise ValueError(f"Expected at least one iteration, got {self}")
        flat, steep = self.flat_fraction, self.steep_fraction
        if not (0 < flat < 1 and 0 < steep < 1 and flat + steep <= 1):
            raise ValueError(
                f"Expected flat_fraction and steep_fraction above 0, at most 1 together: {self}"
            )


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
    penalty = params.regularisation
    if penalty is None:
        penalty = tikhonov_weight(box, problem)
    chi = least_squares(
        box, box.weights(problem), box.dipole, params.tolerance, params.least_squares_iterations,
        penalty=penalty,
    )  # fmt: skip
    return box.unpad(chi - _streaks(box, chi, params))


def _streaks(box: SpectralBox, chi: Tensor, params: IlsqrParams) -> Tensor:
    """Return the map inside the cone whose gradients fit those of ``chi`` where it is flat."""
    cone = (box.dipole.abs() < params.cone_threshold).to(chi)
    cone[0, 0, 0] = 0
    flat = _flatness(box, params).square()
    work = chi.new_empty((3, *chi.shape))

    def in_cone(x: Tensor) -> Tensor:
        return box.back(box.forward(x).mul_(cone))

    def stiffness(x: Tensor) -> Tensor:
        gradients = cyclic_gradient(x, box.inverse_voxel, work).mul_(flat)
        return in_cone(cyclic_gradient_adjoint(gradients, box.inverse_voxel))

    return conjugate_gradient(
        lambda x: stiffness(in_cone(x)), stiffness(chi),
        tolerance=params.tolerance, max_iterations=params.streak_iterations,
    )  # fmt: skip


def _flatness(box: SpectralBox, params: IlsqrParams) -> Tensor:
    """Return 1 where the fast estimate is flat and 0 on its edges, with a ramp between."""
    like = box.field_ppm
    smooth = smv_kernel(box.grid, 2.0, box.shape, device=like.device, dtype=like.dtype)
    spectrum = box.forward(like).mul_(torch.sign(box.dipole)).mul_(smooth)
    steepness = gradient_length(box.back(spectrum), box.inverse_voxel)
    inside = steepness[box.mask]
    low = upper_fraction(inside, 1 - params.flat_fraction)
    high = upper_fraction(inside, params.steep_fraction)
    ramp = (high - steepness) / max(high - low, 1e-30)
    return torch.where(box.mask, ramp.clamp(0, 1), 1.0)
