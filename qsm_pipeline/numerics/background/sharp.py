"""SHARP: sophisticated harmonic artefact reduction for phase data."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from qsm_pipeline.numerics.background.problem import BackgroundProblem, LocalField
from qsm_pipeline.numerics.background.spheres import SphericalMean, require
from qsm_pipeline.numerics.bounding_box import BoundingBox


@dataclass(frozen=True)
class SharpParams:
    """Parameters of SHARP.

    Parameters
    ----------
    radius_mm : float
        Radius of the ball; the mask is eroded by it.
    threshold : float
        Spatial frequencies at which ``|1 - S|`` is below this are not restored.
    """

    radius_mm: float = 6.0
    threshold: float = 0.05

    def __post_init__(self) -> None:
        if not self.radius_mm > 0 or not 0 < self.threshold < 1:
            raise ValueError(f"Expected radius_mm > 0 and 0 < threshold < 1, got {self}")


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
    box = BoundingBox.of(problem.mask, problem.grid)
    mask = box.cut(problem.mask)
    field = box.cut(problem.total_field_ppm) * mask
    balls = SphericalMean(box.inner, params.radius_mm, field)
    kernel = balls.kernel(params.radius_mm)
    eroded = balls.erode(balls.transform(mask.to(field)), kernel)
    require(eroded, params.radius_mm)
    high = balls.back(balls.transform(field) * (1 - kernel)) * eroded
    local = restore(high, balls, kernel, params.threshold) * eroded
    return LocalField(box.paste(local), box.paste(eroded))


def restore(
    high: torch.Tensor, balls: SphericalMean, kernel: torch.Tensor, threshold: float
) -> torch.Tensor:
    """Undo ``1 - S`` by truncated division in k-space."""
    gain = 1 - kernel
    inverse = torch.where(gain.abs() < threshold, 0.0, 1 / torch.where(gain == 0, 1.0, gain))
    return balls.back(balls.transform(high) * inverse)
