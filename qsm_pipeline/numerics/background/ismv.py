"""iSMV: iterative spherical mean value filtering."""

from __future__ import annotations

import torch

from qsm_pipeline.numerics.background.problem import BackgroundProblem, LocalField
from qsm_pipeline.numerics.background.spheres import ErodedBox
from qsm_pipeline.numerics.params.background import IsmvParams


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
