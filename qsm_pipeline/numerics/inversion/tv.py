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
        Weight of the total variation in ppm mm, in units of ``noise_floor_ppm`` or the noise.
    noise_floor_ppm : float
        The field's noise is taken to be at least this, which stands for what the noise leaves
        out: residual background and model errors.
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

    regularisation: float = 0.1
    noise_floor_ppm: float = 0.002
    outside: float = 1.0
    gradient_step: float = 100.0
    data_step: float = 1.0
    tolerance: float = 1e-2
    max_iterations: int = 50
    margin_mm: float = 16.0

    def __post_init__(self) -> None:
        for name in ("regularisation", "gradient_step", "data_step", "tolerance"):
            if not getattr(self, name) > 0:
                raise ValueError(f"Expected {name} > 0, got {getattr(self, name)}")
        if not 0 <= self.outside or self.max_iterations < 1:
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
    precision = box.weights(problem).square()

    def nearest_field(target: Tensor, step: float) -> Tensor:
        return (precision * box.field_ppm + step * target) / (precision + step)

    return box.unpad(admm(box, problem, params, nearest_field))


def admm(
    box: SpectralBox,
    problem: InversionProblem,
    params: TvParams,
    nearest_field: Callable[[Tensor, float], Tensor],
) -> Tensor:
    """Alternate between the map, its gradient and its field.

    ``nearest_field(target, step)`` minimises the data term plus ``step / 2`` times the squared
    distance to ``target``.
    """
    noise = max(problem.noise_ppm or 0.0, params.noise_floor_ppm)
    threshold_weight = params.regularisation * noise
    rho = params.gradient_step * threshold_weight
    mu = params.data_step
    inverse_voxel = tuple(1 / v for v in problem.grid.voxel_size_mm)
    shrink = torch.where(box.mask, 1.0, params.outside).to(box.field_ppm)
    shrink *= threshold_weight / rho
    denominator = rho * box.laplacian() + mu * box.dipole.square()
    denominator[0, 0, 0] = 1.0
    # start from the closed form of the same penalties
    chi = box.back(mu * box.dipole * box.forward(box.field_ppm) / denominator)
    dipole_field = box.back(box.dipole * box.forward(chi))
    data_dual = torch.zeros_like(chi)
    gradient = torch.empty((3, *chi.shape), dtype=chi.dtype, device=chi.device)
    cyclic_gradient(chi, inverse_voxel, gradient)
    gradient_dual = torch.zeros_like(gradient)
    for _ in range(params.max_iterations):
        data = nearest_field(dipole_field + data_dual, mu)
        data_dual += dipole_field - data
        gradient_dual += gradient
        # isotropic shrinkage; what is cut off stays in the dual variable
        norm = torch.linalg.vector_norm(gradient_dual, dim=0)
        kept = (1 - shrink / norm.clamp(min=1e-12)).clamp_(min=0)
        sparse = gradient_dual * kept
        gradient_dual -= sparse
        rhs = rho * box.forward(cyclic_gradient_adjoint(sparse - gradient_dual, inverse_voxel))
        rhs += mu * box.dipole * box.forward(data - data_dual)
        spectrum = rhs / denominator
        spectrum[0, 0, 0] = 0
        updated = box.back(spectrum)
        change = float(torch.linalg.vector_norm(updated - chi) / torch.linalg.vector_norm(updated))
        chi = updated
        if not change > params.tolerance:
            break
        dipole_field = box.back(box.dipole * spectrum)
        cyclic_gradient(chi, inverse_voxel, gradient)
    return chi
