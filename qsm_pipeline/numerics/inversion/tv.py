"""Total variation by ADMM, with a linear or a nonlinear data term."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.inversion.spectral import (
    SpectralBox,
    cyclic_gradient,
    cyclic_gradient_adjoint,
)


@dataclass(frozen=True)
class TvParams:
    """Parameters of the TV inversion.

    Parameters
    ----------
    regularisation : float
        Weight of the total variation in ppm mm for a field noise of 0.001 ppm; it follows the
        square root of the noise where that is known.
    noise_floor_ppm : float
        The noise is taken to be at least this, for what it leaves out: residual background and
        errors of the model.
    outside : float
        The total variation outside the mask counts this fraction. Small values let sources
        outside explain what background removal has left.
    gradient_step, data_step : float
        ADMM penalties, the first relative to the regularisation.
    tolerance : float
        Relative change of the map at which to stop.
    max_iterations : int
        Largest number of iterations.
    margin_mm : float
        Padding around the mask.
    """

    regularisation: float = 1e-4
    noise_floor_ppm: float = 5e-4
    outside: float = 0.01
    gradient_step: float = 100.0
    data_step: float = 0.1
    tolerance: float = 1e-3
    max_iterations: int = 30
    margin_mm: float = 16.0

    def __post_init__(self) -> None:
        for name in ("regularisation", "gradient_step", "data_step", "tolerance"):
            if not getattr(self, name) > 0:
                raise ValueError(f"Expected {name} > 0, got {getattr(self, name)}")
        if not self.outside >= 0 or self.max_iterations < 1:
            raise ValueError(f"Expected outside >= 0 and max_iterations >= 1, got {self}")


def tv(problem: InversionProblem, params: TvParams | None = None) -> Tensor:
    r"""Minimise :math:`\frac12\|W(D\chi-f)\|^2+\lambda\|\nabla\chi\|_1`.

    Parameters
    ----------
    problem : InversionProblem
        Local field, optionally with weights and noise.
    params : TvParams, optional
        Parameters.

    Returns
    -------
    torch.Tensor, shape (X, Y, Z)
        Susceptibility in ppm, zero outside the mask.

    References
    ----------
    Bilgic et al. 2014, doi:10.1002/mrm.25029; for the weights Milovic et al. 2018,
    doi:10.1002/mrm.27073.
    """
    params = params or TvParams()
    box = SpectralBox(problem, params.margin_mm)
    weights = box.weights(problem)
    precision = weights.square()

    def nearest_field(target: Tensor, step: float) -> Tensor:
        return (precision * box.field_ppm + step * target) / (precision + step)

    return box.unpad(admm(box, weights, problem, params, nearest_field))


def admm(
    box: SpectralBox,
    weights: Tensor,
    problem: InversionProblem,
    params: TvParams,
    nearest_field: Callable[[Tensor, float], Tensor],
) -> Tensor:
    """Alternate between the map, its gradient and its field.

    ``nearest_field(target, step)`` minimises the data term plus ``step / 2`` times the squared
    distance to ``target``.
    """
    noise = 1e-3 if problem.noise_ppm is None else max(problem.noise_ppm, params.noise_floor_ppm)
    weight = params.regularisation * (noise / 1e-3) ** 0.5
    rho = params.gradient_step * weight
    mu = params.data_step
    inverse_voxel = tuple(1 / v for v in problem.grid.voxel_size_mm)
    shrink = torch.where(box.mask, 1.0, params.outside).to(box.field_ppm)
    shrink *= weight / rho
    inverse = 1 / (rho * box.laplacian() + mu * box.dipole.square())
    inverse[0, 0, 0] = 0  # the mean is not measured
    dipole_step = mu * box.dipole
    # start from the closed form of the same penalties, with no field where there is no weight
    known = box.field_ppm * (weights > 0)
    chi = box.back(dipole_step * inverse * box.forward(known))
    dipole_field = box.back(box.dipole * box.forward(chi))
    data_dual = torch.zeros_like(chi)
    gradient = torch.empty((3, *chi.shape), dtype=chi.dtype, device=chi.device)
    cyclic_gradient(chi, inverse_voxel, gradient)
    gradient_dual = torch.zeros_like(gradient)
    for _ in range(params.max_iterations):
        data = nearest_field(dipole_field + data_dual, mu)
        data_dual += dipole_field
        data_dual -= data
        gradient_dual += gradient
        # Isotropic shrinkage. What it cuts off is the new dual variable, and the target of the
        # next map is the kept part less that: gradient holds it from here on.
        cut = (shrink / length(gradient_dual)).clamp_(max=1)
        for axis in range(3):
            torch.mul(gradient_dual[axis], 1 - 2 * cut, out=gradient[axis])
            gradient_dual[axis].mul_(cut)
        spectrum = box.forward(cyclic_gradient_adjoint(gradient, inverse_voxel).mul_(rho))
        spectrum += box.forward(data.sub_(data_dual)).mul_(dipole_step)
        spectrum *= inverse
        updated = box.back(spectrum)
        change = float(torch.linalg.vector_norm(updated - chi) / torch.linalg.vector_norm(updated))
        chi = updated
        if not change > params.tolerance:
            break
        dipole_field = box.back(spectrum.mul_(box.dipole))
        cyclic_gradient(chi, inverse_voxel, gradient)
    return chi


def length(vectors: Tensor) -> Tensor:
    """Return the Euclidean length of vectors along the first axis, at least 1e-12."""
    squared = vectors[0].square()
    for component in vectors[1:]:
        squared.addcmul_(component, component)
    return squared.sqrt_().clamp_(min=1e-12)
