"""TKD: thresholded k-space division."""

from __future__ import annotations

import torch
from torch import Tensor

from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.inversion.regularisation import dipole_threshold
from qsm_pipeline.numerics.inversion.spectral import SpectralBox
from qsm_pipeline.numerics.params.inversion import TkdParams


def tkd(problem: InversionProblem, params: TkdParams | None = None) -> Tensor:
    """Divide by the dipole kernel, bounded away from zero.

    Parameters
    ----------
    problem : InversionProblem
        Local field.
    params : TkdParams, optional
        Parameters.

    Returns
    -------
    torch.Tensor, shape (X, Y, Z)
        Susceptibility in ppm, zero outside the mask.

    References
    ----------
    Shmueli et al. 2009, doi:10.1002/mrm.22135; for the correction Schweser et al. 2013,
    doi:10.1002/mrm.24405.
    """
    params = params or TkdParams()
    box = SpectralBox(problem, params.margin_mm)
    sign = torch.where(box.dipole.kernel < 0, -1.0, 1.0)
    threshold = dipole_threshold(box, problem, params.threshold)
    bounded = torch.where(box.dipole.kernel.abs() < threshold, threshold * sign, box.dipole.kernel)
    inverse = 1 / bounded
    inverse[0, 0, 0] = 0
    chi = box.dipole.back(box.dipole.spectrum(box.field_ppm) * inverse)
    if params.correct_underestimation:
        chi = chi / (box.dipole.kernel * inverse).mean()
    return box.unpad(chi)
