"""Total variation with a linear data term."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from qsm_pipeline.numerics.inversion.admm import AdmmParams, TotalVariationAdmm
from qsm_pipeline.numerics.inversion.data_terms import LinearMisfit
from qsm_pipeline.numerics.inversion.edges import edge_weights
from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.inversion.spectral import SpectralBox


@dataclass(frozen=True)
class TvParams(AdmmParams):
    """Parameters of the TV inversion; see `AdmmParams` for the rest.

    Parameters
    ----------
    edge_fraction : float
        The part of the mask with the steepest magnitude, where there is one.
    edge_weight : float
        Cost of gradients there over their cost elsewhere; the mean over the mask stays the same.
        1 to take no notice of the magnitude.
    """

    edge_fraction: float = 0.3
    edge_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.edge_fraction < 1 or not 0 <= self.edge_weight <= 1:
            raise ValueError(
                f"Expected 0 <= edge_fraction < 1 and 0 <= edge_weight <= 1, got {self}"
            )


def tv(problem: InversionProblem, params: TvParams | None = None) -> Tensor:
    r"""Minimise :math:`\frac12\|W(D\chi-f)\|^2+\lambda\|\nabla\chi\|_1`.

    Parameters
    ----------
    problem : InversionProblem
        Local field, optionally with weights, noise and magnitude.
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
    return tv_with_outer_field(problem, params)[0]


def tv_with_outer_field(
    problem: InversionProblem, params: TvParams | None = None
) -> tuple[Tensor, Tensor]:
    """Return the map of :func:`tv`, and the field in ppm of its sources outside the mask.

    Both have the shape (X, Y, Z) and are zero outside the mask.
    """
    params = params or TvParams()
    box = SpectralBox(problem, params.margin_mm)
    data = LinearMisfit(box.field_ppm, box.weights(problem))
    edges = None
    if problem.magnitude is not None and params.edge_weight < 1:
        edges = edge_weights(box, problem.magnitude, params.edge_fraction, params.edge_weight)
        edges /= edges[box.mask].mean()
    solver = TotalVariationAdmm(box, problem, params, data, edges)
    chi = solver.run(params.max_iterations)
    outer = torch.where(box.mask, 0.0, chi)
    return box.unpad(chi), box.unpad(box.back(box.forward(outer) * box.dipole))
