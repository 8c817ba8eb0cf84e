"""What background removal has left: the field of sources just outside the mask."""

from __future__ import annotations

import torch
from torch import Tensor

from qsm_pipeline.numerics.inversion.admm import TotalVariationAdmm
from qsm_pipeline.numerics.inversion.data_terms import LinearMisfit
from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.inversion.spectral import SpectralBox
from qsm_pipeline.numerics.params.inversion import TvParams


def outer_source_field(problem: InversionProblem, params: TvParams | None = None) -> Tensor:
    """Return the part of a local field that sources outside the mask explain best.

    Parameters
    ----------
    problem : InversionProblem
        Local field that background removal made.
    params : TvParams, optional
        Of the total variation under which inner and outer sources share the field.

    Returns
    -------
    torch.Tensor, shape (X, Y, Z)
        Field in ppm, zero outside the mask; zero where background removal did not make the field.
    """
    if not problem.residual_background:
        return torch.zeros_like(problem.local_field_ppm)
    params = params or TvParams()
    box = SpectralBox(problem, params.margin_mm)
    data = LinearMisfit(box.field_ppm, box.weights(problem))
    chi = TotalVariationAdmm(box, problem, params, data).run(params.max_iterations)
    outer = torch.where(box.mask, 0.0, chi)
    return box.unpad(box.back(box.forward(outer) * box.dipole))
