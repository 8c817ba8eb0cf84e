"""RESHARP: SHARP with Tikhonov regularisation instead of truncation."""

from __future__ import annotations

from dataclasses import dataclass

from qsm_pipeline.numerics.background.problem import BackgroundProblem, LocalField
from qsm_pipeline.numerics.background.spheres import SphericalMean, require
from qsm_pipeline.numerics.bounding_box import BoundingBox
from qsm_pipeline.numerics.solvers import conjugate_gradient


@dataclass(frozen=True)
class ResharpParams:
    """Parameters of RESHARP.

    Parameters
    ----------
    radius_mm : float
        Radius of the ball; the mask is eroded by it.
    regularisation : float
        Weight of the norm of the local field.
    tolerance : float
        Relative residual at which the conjugate gradients stop.
    max_iterations : int
        Largest number of iterations.
    """

    radius_mm: float = 6.0
    regularisation: float = 1e-4
    tolerance: float = 1e-2
    max_iterations: int = 50

    def __post_init__(self) -> None:
        if not self.radius_mm > 0 or not self.regularisation >= 0:
            raise ValueError(f"Expected radius_mm > 0 and regularisation >= 0, got {self}")


def resharp(problem: BackgroundProblem, params: ResharpParams | None = None) -> LocalField:
    """Solve for the local field of least norm that has the same non-harmonic part.

    Parameters
    ----------
    problem : BackgroundProblem
        Total field.
    params : ResharpParams, optional
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
    Sun & Wilman 2014, doi:10.1002/mrm.24765.
    """
    params = params or ResharpParams()
    box = BoundingBox.of(problem.mask, problem.grid)
    mask = box.cut(problem.mask)
    field = box.cut(problem.total_field_ppm) * mask
    balls = SphericalMean(box.inner, params.radius_mm, field)
    kernel = balls.kernel(params.radius_mm)
    eroded = balls.erode(balls.transform(mask.to(field)), kernel)
    require(eroded, params.radius_mm)
    gain = 1 - kernel

    def filtered(x):
        return balls.back(balls.transform(x) * gain)

    def normal(x):
        return filtered(filtered(x) * eroded) + params.regularisation * x

    local = conjugate_gradient(
        normal,
        filtered(filtered(field) * eroded),
        tolerance=params.tolerance,
        max_iterations=params.max_iterations,
    )
    return LocalField(box.paste(local * eroded), box.paste(eroded))
