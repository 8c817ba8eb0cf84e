"""SHARP: sophisticated harmonic artefact reduction for phase data."""

from __future__ import annotations

import torch

from qsm_pipeline.numerics.background.problem import BackgroundProblem, LocalField
from qsm_pipeline.numerics.background.spheres import ErodedBox, SphericalMean
from qsm_pipeline.numerics.params.background import SharpParams


def sharp(problem: BackgroundProblem, params: SharpParams | None = None) -> LocalField:
    """Remove what has the spherical mean value property.

    Parameters
    ----------
    problem : BackgroundProblem
        Total field.
    params : SharpParams, optional
        Parameters.

    Returns
    -------
    LocalField
        On the mask eroded by the radius.

    Raises
    ------
    ValueError
        If the eroded mask is empty.

    References
    ----------
    Schweser et al. 2011, doi:10.1016/j.neuroimage.2010.10.070.
    """
    params = params or SharpParams()
    part = ErodedBox.of(problem, params.radius_mm)
    balls, kernel = part.balls, part.kernel
    high = balls.back(balls.transform(part.field) * (1 - kernel)) * part.eroded
    local = restore(high, balls, kernel, params.threshold) * part.eroded
    return LocalField(part.box.paste(local), part.box.paste(part.eroded))


def restore(
    high: torch.Tensor, balls: SphericalMean, kernel: torch.Tensor, threshold: float
) -> torch.Tensor:
    """Undo ``1 - S`` by truncated division in k-space."""
    gain = 1 - kernel
    inverse = torch.where(gain.abs() < threshold, 0.0, 1 / torch.where(gain == 0, 1.0, gain))
    return balls.back(balls.transform(high) * inverse)
