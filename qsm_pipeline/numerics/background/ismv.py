"""iSMV: iterative spherical mean value filtering."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from qsm_pipeline.numerics.background.problem import BackgroundProblem, LocalField
from qsm_pipeline.numerics.background.spheres import ErodedBox


@dataclass(frozen=True)
class IsmvParams:
    """Parameters of iSMV.

    Parameters
    ----------
    radius_mm : float
        Radius of the ball; the mask is eroded by it.
    tolerance : float
        Largest relative change of the background per iteration at the end.
    max_iterations : int
        Largest number of iterations.
    """

    radius_mm: float = 5.0
    tolerance: float = 1e-4
    max_iterations: int = 100

    def __post_init__(self) -> None:
        if not self.radius_mm > 0 or not self.tolerance > 0:
            raise ValueError(f"Expected radius_mm > 0 and tolerance > 0, got {self}")


def ismv(problem: BackgroundProblem, params: IsmvParams | None = None) -> LocalField:
    """Average the field over balls until only its harmonic part is left, and subtract that.

    Parameters
    ----------
    problem : BackgroundProblem
        Total field.
    params : IsmvParams, optional
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
    Wen et al. 2014, doi:10.1002/mrm.24998.
    """
    params = params or IsmvParams()
    part = ErodedBox.of(problem, params.radius_mm)
    balls, kernel = part.balls, part.kernel
    background = part.field
    bound = params.tolerance * float(torch.linalg.vector_norm(part.field))
    for _ in range(params.max_iterations):
        mean = balls.back(balls.transform(background) * kernel)
        updated = torch.where(part.eroded, mean, part.field)
        change = float(torch.linalg.vector_norm(updated - background))
        background = updated
        if change < bound:
            break
    local = (part.field - background) * part.eroded
    return LocalField(part.box.paste(local), part.box.paste(part.eroded))
