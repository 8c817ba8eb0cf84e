"""RTS: rapid two-step inversion."""

from __future__ import annotations

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.gradients import gradient_length
from qsm_pipeline.numerics.inversion.least_squares import least_squares
from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.inversion.regularisation import dipole_threshold
from qsm_pipeline.numerics.inversion.shrinkage import SplitGradient
from qsm_pipeline.numerics.inversion.spectral import SpectralBox
from qsm_pipeline.numerics.params.inversion import RtsParams

NOISE_TO_THRESHOLD = 1.5
"""As `~.regularisation.THRESHOLD`, but smaller, since the second step takes out noise too."""


def rts(problem: InversionProblem, params: RtsParams | None = None) -> Tensor:
    """Invert the well-conditioned part of k-space, then fill the rest by total variation.

    Parameters
    ----------
    problem : InversionProblem
        Local field, optionally with weights.
    params : RtsParams, optional
        Parameters.

    Returns
    -------
    torch.Tensor, shape (X, Y, Z)
        Susceptibility in ppm, zero outside the mask.

    References
    ----------
    Kames et al. 2018, doi:10.1016/j.neuroimage.2017.11.018.
    """
    params = params or RtsParams()
    box = SpectralBox(problem, params.margin_mm)
    well_conditioned = box.dipole.kernel.abs() > dipole_threshold(
        box, problem, params.threshold, NOISE_TO_THRESHOLD
    )
    inverse_square = torch.where(well_conditioned, box.dipole.kernel.square().reciprocal(), 0.0)
    chi = least_squares(
        box,
        box.weights(problem),
        box.dipole.kernel * well_conditioned,
        0.0,
        params.least_squares_iterations,
        inverse_square,
    )
    measured = box.dipole.spectrum(chi)
    steepness = gradient_length(chi, box.inverse_voxel)[box.mask].square().mean().sqrt()
    threshold = box.discount(problem, params.outside) * (params.shrinkage * steepness)
    gradient = SplitGradient(chi, box.inverse_voxel, threshold)
    laplacian = box.laplacian()
    laplacian[0, 0, 0] = 1
    for _ in range(params.max_iterations):
        spectrum = box.dipole.spectrum(gradient.pull(chi)).div_(laplacian)
        updated = box.dipole.back(torch.where(well_conditioned, measured, spectrum))
        change = torch.linalg.vector_norm(updated - chi) / torch.linalg.vector_norm(updated)
        chi = updated
        if not float(change) > params.tolerance:
            break
    return box.unpad(chi)
