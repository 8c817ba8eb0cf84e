"""RTS: rapid two-step inversion."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from qsm_pipeline.numerics.inversion.least_squares import least_squares
from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.inversion.regularisation import dipole_threshold
from qsm_pipeline.numerics.inversion.shrinkage import SplitGradient
from qsm_pipeline.numerics.inversion.spectral import SpectralBox, gradient_length

NOISE_TO_THRESHOLD = 1.2
"""As `~.regularisation.THRESHOLD`, but smaller, since the second step takes out noise too."""


@dataclass(frozen=True)
class RtsParams:
    """Parameters of RTS.

    Parameters
    ----------
    threshold : float, optional
        The first step finds the map where the dipole kernel is larger than this; by default it
        follows the field's error at each frequency.
    least_squares_iterations : int
        Iterations of the first step; few of them, since they amplify noise.
    shrinkage : float
        The second step shortens gradients in each iteration by this fraction of the
        root-mean-square gradient of the first map.
    tolerance : float
        Relative change of the map at which to stop.
    max_iterations : int
        Largest number of iterations of the second step.
    outside : float
        As for TV: the total variation outside the mask counts this fraction where background
        removal made the field.
    margin_mm : float
        Padding around the mask.
    """

    threshold: float | None = None
    least_squares_iterations: int = 3
    shrinkage: float = 1.0
    tolerance: float = 1e-2
    max_iterations: int = 15
    outside: float = 0.01
    margin_mm: float = 16.0

    def __post_init__(self) -> None:
        small = self.threshold is None or 0 < self.threshold < 1 / 3
        if not small or not self.shrinkage > 0 or not self.tolerance > 0:
            raise ValueError(
                f"Expected 0 < threshold < 1/3, shrinkage > 0 and tolerance > 0, got {self}"
            )
        if self.least_squares_iterations < 1 or self.max_iterations < 1 or not self.outside >= 0:
            raise ValueError(f"Expected at least one iteration and outside >= 0, got {self}")


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
    well_conditioned = box.dipole.abs() > dipole_threshold(
        box, problem, params.threshold, NOISE_TO_THRESHOLD
    )
    inverse_square = torch.where(well_conditioned, box.dipole.square().reciprocal(), 0.0)
    chi = least_squares(
        box, box.weights(problem), box.dipole * well_conditioned, 0.0,
        params.least_squares_iterations, inverse_square,
    )  # fmt: skip
    measured = box.forward(chi)
    steepness = gradient_length(chi, box.inverse_voxel)[box.mask].square().mean().sqrt()
    threshold = box.discount(problem, params.outside) * (params.shrinkage * steepness)
    gradient = SplitGradient(chi, box.inverse_voxel, threshold)
    laplacian = box.laplacian()
    laplacian[0, 0, 0] = 1
    for _ in range(params.max_iterations):
        spectrum = box.forward(gradient.pull(chi)).div_(laplacian)
        updated = box.back(torch.where(well_conditioned, measured, spectrum))
        change = torch.linalg.vector_norm(updated - chi) / torch.linalg.vector_norm(updated)
        chi = updated
        if not float(change) > params.tolerance:
            break
    return box.unpad(chi)
