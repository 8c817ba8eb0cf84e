"""Total variation with a linear data term."""

from __future__ import annotations

import torch
from torch import Tensor

from qsm_pipeline.numerics.inversion.admm import TotalVariationAdmm
from qsm_pipeline.numerics.inversion.data_terms import LinearMisfit
from qsm_pipeline.numerics.inversion.edges import edge_weights
from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.inversion.spectral import SpectralBox
from qsm_pipeline.numerics.params.inversion import TvParams


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
    data = LinearMisfit(box.field_ppm, box.weights(problem), params.data_step)
    edges = None
    if problem.magnitude is not None and params.edge_weight < 1:
        edges = edge_weights(box, problem.magnitude, params.edge_fraction, params.edge_weight)
        edges /= edges[box.mask].mean()
    solver = TotalVariationAdmm(box, problem, params, data, edges)
    del edges
    chi = solver.run(params.max_iterations)
    outer = torch.where(box.mask, 0.0, chi)
    return box.unpad(chi), box.unpad(box.field(outer))
