"""R2*, T2* and S0 from the decay of the magnitude."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

MAX_R2STAR_PER_S = 1000.0
"""Faster decays are not measurable with echo times of milliseconds."""


@dataclass(frozen=True)
class Relaxation:
    """Maps of the mono-exponential decay, zero outside the mask.

    Parameters
    ----------
    r2star_per_s : torch.Tensor, shape (X, Y, Z)
        In [0, 1000] 1/s.
    t2star_s : torch.Tensor, shape (X, Y, Z)
        1 / R2* in s, zero where R2* is zero.
    s0 : torch.Tensor, shape (X, Y, Z)
        Signal at echo time zero, in the unit of the magnitude.
    """

    r2star_per_s: Tensor
    t2star_s: Tensor
    s0: Tensor


def fit_relaxation(
    magnitude: Tensor, mask: Tensor, echo_times_s: tuple[float, ...], *, refinements: int = 4
) -> Relaxation:
    """Fit ``S0 exp(-TE R2*)`` by Gauss-Newton from a weighted log-linear start.

    Parameters
    ----------
    magnitude : torch.Tensor, shape (E, X, Y, Z)
        Magnitude of at least two echoes.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where to fit.
    echo_times_s : tuple of float, length E
        Increasing.
    refinements : int
        Gauss-Newton steps on the signal itself.

    Returns
    -------
    Relaxation
        Finite everywhere.

    Raises
    ------
    ValueError
        With fewer than two echoes.
    """
    if len(echo_times_s) < 2:
        raise ValueError("R2* needs at least two echoes")
    inside = mask.nonzero(as_tuple=True)
    signal = magnitude[:, *inside]
    times = torch.tensor(echo_times_s, dtype=signal.dtype, device=signal.device)[:, None]
    tiny = torch.finfo(signal.dtype).tiny
    weight = signal.square()
    log_signal = signal.clamp(min=tiny).log()
    total = weight.sum(0).clamp(min=tiny)
    mean_time = (weight * times).sum(0) / total
    mean_log = (weight * log_signal).sum(0) / total
    spread = (weight * (times - mean_time).square()).sum(0).clamp(min=tiny)
    rate = -(weight * (times - mean_time) * (log_signal - mean_log)).sum(0) / spread
    rate = torch.nan_to_num(rate).clamp(0, MAX_R2STAR_PER_S)
    for _ in range(refinements):
        # variable projection: S0 is linear, so only the rate is stepped
        decay = torch.exp(-times * rate)
        s0 = (decay * signal).sum(0) / decay.square().sum(0).clamp(min=tiny)
        slope = -times * s0 * decay
        slope = slope - decay * (decay * slope).sum(0) / decay.square().sum(0).clamp(min=tiny)
        step = (slope * (signal - s0 * decay)).sum(0) / slope.square().sum(0).clamp(min=tiny)
        rate = (rate + torch.nan_to_num(step).clamp(-50, 50)).clamp(0, MAX_R2STAR_PER_S)
    decay = torch.exp(-times * rate)
    s0 = (decay * signal).sum(0) / decay.square().sum(0).clamp(min=tiny)
    r2star, s0_map = torch.zeros_like(magnitude[0]), torch.zeros_like(magnitude[0])
    r2star[inside] = rate
    s0_map[inside] = torch.nan_to_num(s0).clamp(min=0)
    t2star = torch.where(r2star > 0, 1 / r2star.clamp(min=tiny), 0.0)
    return Relaxation(r2star, t2star, s0_map)
