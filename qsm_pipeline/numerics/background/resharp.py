"""RESHARP: SHARP with Tikhonov regularisation instead of truncation."""

from __future__ import annotations

from torch import Tensor

from qsm_pipeline.numerics.background.problem import BackgroundProblem, LocalField
from qsm_pipeline.numerics.background.spheres import ErodedBox
from qsm_pipeline.numerics.core.solvers import conjugate_gradient
from qsm_pipeline.numerics.params.background import ResharpParams


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
    part = ErodedBox.of(problem, params.radius_mm)
    balls, kernel = part.balls, part.kernel
    gain = 1 - kernel

    def filtered(x: Tensor) -> Tensor:
        return balls.back(balls.transform(x) * gain)

    def normal(x: Tensor) -> Tensor:
        return filtered(filtered(x) * part.eroded) + params.regularisation * x

    local = conjugate_gradient(
        normal,
        filtered(filtered(part.field) * part.eroded),
        tolerance=params.tolerance,
        max_iterations=params.max_iterations,
    )
    return LocalField(part.box.paste(local * part.eroded), part.box.paste(part.eroded))
