"""Closed-form Tikhonov inversion."""

from __future__ import annotations

from torch import Tensor

from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.inversion.regularisation import tikhonov_weight
from qsm_pipeline.numerics.inversion.spectral import SpectralBox
from qsm_pipeline.numerics.params.inversion import TikhonovParams


def tikhonov(problem: InversionProblem, params: TikhonovParams | None = None) -> Tensor:
    """Minimise the squared misfit plus a squared penalty, in k-space.

    Parameters
    ----------
    problem : InversionProblem
        Local field.
    params : TikhonovParams, optional
        Parameters.

    Returns
    -------
    torch.Tensor, shape (X, Y, Z)
        Susceptibility in ppm, zero outside the mask.

    References
    ----------
    Bilgic et al. 2014, doi:10.1002/mrm.25029.
    """
    params = params or TikhonovParams()
    box = SpectralBox(problem, params.margin_mm)
    penalty = box.laplacian() if params.penalty == "gradient" else 1.0
    weight = params.regularisation or tikhonov_weight(box, problem)
    denominator = box.dipole.kernel.square() + weight * penalty
    denominator[0, 0, 0] = 1  # the mean is not measured
    inverse = box.dipole.kernel / denominator
    return box.unpad(box.dipole.back(box.dipole.spectrum(box.field_ppm) * inverse))
