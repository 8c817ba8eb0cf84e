"""Best-path unwrapping of each echo by scikit-image."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from skimage.restoration import unwrap_phase
from torch import Tensor

from qsm_pipeline.numerics.params.none import NoParams
from qsm_pipeline.numerics.unwrap.problem import UnwrapProblem
from qsm_pipeline.numerics.unwrap.turns import fit_in_time, nearest_to


def best_path(problem: UnwrapProblem, params: NoParams | None = None) -> Tensor:
    """Unwrap each echo by the reliability-sorted path of Abdul-Rahman.

    Parameters
    ----------
    problem : UnwrapProblem
        Wrapped phase.
    params : NoParams, optional
        None.

    Returns
    -------
    torch.Tensor, shape (E, X, Y, Z)
        Unwrapped phase in radians; zero outside the mask. Each connected part of the mask is
        shifted so that its median frequency is the one nearest to zero that fits all echoes.

    References
    ----------
    Abdul-Rahman et al. 2007, doi:10.1364/AO.46.006623.
    """
    del params
    outside = ~problem.mask.cpu().numpy()
    parts, _ = ndimage.label(~outside)
    phase = torch.nan_to_num(problem.phase_rad).cpu().numpy()
    magnitude = None if problem.magnitude is None else problem.magnitude.cpu().numpy()
    times = problem.echo_times_s
    out: list[np.ndarray] = []
    for echo, wrapped in enumerate(phase):
        # NaN makes scikit-image hang, which is why it is removed outside the mask too.
        result = np.ma.getdata(unwrap_phase(np.ma.array(wrapped, mask=outside), rng=0))
        expected = out[-1] * (times[echo] / times[echo - 1]) if out else 0.0
        result = nearest_to(expected, result, parts)
        if not out:
            result = fit_in_time(result, parts, phase, magnitude, times)
        out.append(np.where(outside, 0, result))
    return torch.from_numpy(np.stack(out)).to(problem.phase_rad)
