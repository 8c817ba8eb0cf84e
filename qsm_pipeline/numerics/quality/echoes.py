"""Whether the echoes tell of one field and one decay: motion, drift, bipolar readouts, order."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d

from qsm_pipeline.numerics.core.order import upper_fraction
from qsm_pipeline.numerics.core.units import rad_per_s_per_ppm

_LARGE = 0.1
"""Part of the brain that may be far off without anything being wrong, such as over the sinuses."""
_DECAY_AT_3T = 18.0
"""Median R2* of a brain in 1/s; see Peters et al. 2007, doi:10.1016/j.mri.2007.02.014."""


def echo_misfit_rad(
    phase_rad: Tensor,
    magnitude: Tensor,
    total_field_ppm: Tensor,
    where: Tensor,
    echo_times_s: Sequence[float],
    b0_tesla: float,
) -> float | None:
    """Return how far echoes lie off the phase of the field, without their noise.

    Parameters
    ----------
    phase_rad, magnitude : torch.Tensor, shape (E, X, Y, Z)
        Phase without its offset, wrapped or not, and magnitude.
    total_field_ppm : torch.Tensor, shape (X, Y, Z)
        Fitted to them.
    where : torch.Tensor, shape (X, Y, Z), bool
        Voxels that count.
    echo_times_s : sequence of float, length E
        In seconds.
    b0_tesla : float
        Field strength.

    Returns
    -------
    float or None
        Phase of the mean over cubes of three voxels of signal times the conjugate of what the
        field predicts: its absolute value, the largest tenth of voxels left out, of the worst
        echo. None for one echo or an empty mask.
    """
    if len(phase_rad) < 2 or not where.any():
        return None
    whole = _cubes(where.to(magnitude.dtype)) > 0.5
    if not whole.any():
        return None
    worst = 0.0
    for phase, size, time in zip(phase_rad, magnitude, echo_times_s, strict=True):
        rest = phase - rad_per_s_per_ppm(b0_tesla) * time * total_field_ppm
        signal = size * where
        off = torch.atan2(_cubes(signal * rest.sin()), _cubes(signal * rest.cos()))
        worst = max(worst, upper_fraction(off[whole].abs(), _LARGE))
    return worst


def decay_misfit_percent(
    magnitude: Tensor, where: Tensor, echo_times_s: Sequence[float]
) -> float | None:
    """Return how far magnitudes lie off an exponential decay, without their noise.

    Shapes as in :func:`echo_misfit_rad`. In percent of the signal, the largest tenth of voxels
    left out, of the worst echo; None for fewer than three echoes.
    """
    if len(magnitude) < 3 or not where.any():
        return None
    logs = _logs(magnitude, where)
    if not logs.numel():
        return None
    times = torch.tensor(echo_times_s, dtype=logs.dtype, device=logs.device)[:, None]
    centred = times - times.mean()
    slope = (centred * logs).sum(0) / centred.square().sum()
    rest = logs - logs.mean(0) - slope * centred
    return 100 * max(upper_fraction(echo.abs(), _LARGE) for echo in rest)


def relative_decay(
    magnitude: Tensor, where: Tensor, echo_times_s: Sequence[float], b0_tesla: float
) -> float | None:
    """Return the median R2* of the brain over that of an adult's at this field strength.

    Shapes as in :func:`echo_misfit_rad`. About 1; far from it where echo times, their order or
    the field strength are wrong. None for one echo.

    Notes
    -----
    R2* of brains grows about as the power 0.7 of the field from 1.5 to 7 T (Peters et al. 2007,
    doi:10.1016/j.mri.2007.02.014).
    """
    if len(magnitude) < 2 or not where.any():
        return None
    logs = _logs(magnitude[[0, -1]], where)
    if not logs.numel():
        return None
    r2star = float((logs[0] - logs[1]).median()) / (echo_times_s[-1] - echo_times_s[0])
    return r2star / (_DECAY_AT_3T * (b0_tesla / 3) ** 0.7)


def _cubes(volume: Tensor) -> Tensor:
    """Return the means of cubes of three voxels."""
    return avg_pool3d(volume[None, None], [min(3, n) for n in volume.shape])[0, 0]


def _logs(magnitude: Tensor, where: Tensor) -> Tensor:
    """Return the logarithms of the means of cubes that count for the most part, (E, N)."""
    share = _cubes(where.to(magnitude.dtype))
    whole = share > 0.5
    means = torch.stack([(_cubes(echo * where) / share)[whole] for echo in magnitude])
    return means.clamp(min=1e-6 * float(means.max()) + 1e-30).log() if means.numel() else means
