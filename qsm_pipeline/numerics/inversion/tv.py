"""Total variation with a linear data term."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from qsm_pipeline.numerics.inversion.admm import AdmmParams, TotalVariationAdmm
from qsm_pipeline.numerics.inversion.data_terms import LinearMisfit
from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.inversion.spectral import SpectralBox


@dataclass(frozen=True)
class TvParams(AdmmParams):
    """Parameters of the TV inversion; see `AdmmParams`."""


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
    data = LinearMisfit(box.field_ppm, box.weights(problem))
    return box.unpad(TotalVariationAdmm(box, problem, params, data).run(params.max_iterations))
