"""Best-path unwrapping of each echo by scikit-image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from skimage.restoration import unwrap_phase
from torch import Tensor

from qsm_pipeline.numerics.unwrap.problem import UnwrapProblem


@dataclass(frozen=True)
class BestPathParams:
    """Best-path unwrapping has no parameters."""


def best_path(problem: UnwrapProblem, params: BestPathParams | None = None) -> Tensor:
    """Unwrap each echo by the reliability-sorted path of Abdul-Rahman.

    Parameters
    ----------
    problem : UnwrapProblem
        Wrapped phase.
    params : BestPathParams, optional
        None.

    Returns
    -------
    torch.Tensor, shape (E, X, Y, Z)
        Unwrapped phase in radians with its median nearest to zero; zero outside the mask.

    References
    ----------
    Abdul-Rahman et al. 2007, doi:10.1364/AO.46.006623.
    """
    del params
    outside = ~problem.mask.cpu().numpy()
    out = []
    for wrapped in torch.nan_to_num(problem.phase_rad).cpu().numpy():
        # NaN makes scikit-image hang, which is why it is removed outside the mask too.
        result = np.ma.getdata(unwrap_phase(np.ma.array(wrapped, mask=outside), rng=0))
        median = np.median(result[~outside])
        result = result - 2 * math.pi * np.round(median / (2 * math.pi))
        out.append(np.where(outside, 0, result))
    return torch.from_numpy(np.stack(out)).to(problem.phase_rad)
