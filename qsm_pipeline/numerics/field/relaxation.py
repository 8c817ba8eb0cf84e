"""R2*, T2* and S0 from the decay of the magnitude."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.voxels import at, voxels_of
from qsm_pipeline.numerics.core.white_noise import white_noise

MAX_R2STAR_PER_S = 1000.0
"""Faster decays are not measurable with echo times of milliseconds."""
LONGEST_T2STAR = 20.0
"""T2* over the last echo time: a slower decay takes less than 5 % of the signal by then."""
_FLOOR = math.sqrt(math.pi / 2)
"""Mean magnitude without signal over the standard deviation of the real part's noise."""
_SMALL_STEP_PER_S = 0.05
"""The next step would be about its square."""
_AT_ONCE = 1 << 12
"""Voxels whose intermediate results stay in the cache of a core. They are too few to be shared
out: threads that wait for each other at each of so many steps take longer on a busy machine."""


@dataclass(frozen=True)
class Relaxation:
    """Maps of the mono-exponential decay, zero outside the mask and finite everywhere.

    Parameters
    ----------
    r2star_per_s : torch.Tensor, shape (X, Y, Z)
        In [0, 1000] 1/s.
    t2star_s : torch.Tensor, shape (X, Y, Z)
        1 / R2* in s, at most :attr:`longest_t2star_s`.
    s0 : torch.Tensor, shape (X, Y, Z)
        Signal at echo time zero, in the unit of the magnitude, at most what the fastest decay that
        the first echo supports makes of the strongest echo.
    r2star_error_per_s : torch.Tensor, shape (X, Y, Z)
        Standard deviation of the error of R2* from noise, at most 1000 1/s.
    longest_t2star_s : float
        What the echo times support.
    noise : float
        Standard deviation of the real part's noise, in the unit of the magnitude.
    """

    r2star_per_s: Tensor
    t2star_s: Tensor
    s0: Tensor
    r2star_error_per_s: Tensor
    longest_t2star_s: float
    noise: float

    def facts(self) -> dict[str, float]:
        """Return the bounds of the maps for a sidecar."""
        return {
            "LongestT2starS": self.longest_t2star_s,
            "FastestR2starPerS": MAX_R2STAR_PER_S,
            "MagnitudeNoise": self.noise,
        }


def fit_relaxation(
    magnitude: Tensor,
    mask: Tensor,
    echo_times_s: tuple[float, ...],
    *,
    left_out: int | None = None,
    refinements: int = 6,
) -> Relaxation:
    """Fit ``S0 exp(-TE R2*)`` by Gauss-Newton from a weighted log-linear start.

    Magnitudes of noise alone are not zero: the model is the mean of the magnitude with that noise,
    as far as a root of the sum of squares describes it.

    Parameters
    ----------
    magnitude : torch.Tensor, shape (E, X, Y, Z)
        Magnitude of at least two echoes.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where to fit.
    echo_times_s : tuple of float, length E
        Increasing.
    left_out : int, optional
        An echo, from 0, that is not to be used, as it does not fit the others.
    refinements : int
        Gauss-Newton steps on the signal itself.

    Returns
    -------
    Relaxation
        The maps with their bounds.

    Raises
    ------
    ValueError
        With fewer than two echoes.

    References
    ----------
    Gudbjartsson and Patz 1995, doi:10.1002/mrm.1910340618, for the noise.
    """
    if len(echo_times_s) < 2:
        raise ValueError("R2* needs at least two echoes")
    if left_out is not None:
        kept = [echo for echo in range(len(echo_times_s)) if echo != left_out]
        magnitude, echo_times_s = magnitude[kept], tuple(echo_times_s[echo] for echo in kept)
    inside = voxels_of(mask)
    # of the echoes the median counts, since in echoes of noise alone it is smaller
    noise = white_noise(magnitude, mask) or 0.0
    longest = LONGEST_T2STAR * echo_times_s[-1]
    maps = [torch.zeros_like(magnitude[0]) for _ in range(4)]
    parts = [
        _fitted(part, echo_times_s, noise, longest, refinements)
        for part in at(magnitude, inside).split(_AT_ONCE, 1)
    ]
    for whole, *values in zip(maps, *parts, strict=True):
        whole.view(-1)[inside] = torch.cat(values)
    rate_map, t2star, s0_map, error_map = maps
    return Relaxation(rate_map, t2star, s0_map, error_map, longest, noise)


def _fitted(
    measured: Tensor, echo_times_s: tuple[float, ...], noise: float, longest: float, steps: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return R2*, T2*, S0 and the error of R2* of voxels, from magnitudes of shape (E, N)."""
    times = torch.tensor(echo_times_s, dtype=measured.dtype, device=measured.device)[:, None]
    tiny = torch.finfo(measured.dtype).tiny
    # what is left of the power without that of the noise, and how far it can be told from it
    power = measured.square() - 2 * noise**2
    signal = power.clamp(min=0).sqrt()
    rate = _log_linear(signal, times).clamp(0, MAX_R2STAR_PER_S)
    trust = _weight(measured, noise)
    since_first = times - times[0]
    powers = torch.cat([since_first**n for n in range(3)], 1).T
    for _ in range(steps):
        # variable projection: S0 is linear, so only the rate is stepped
        found, spread, slope = _moments(rate, trust, signal, powers)
        step = torch.nan_to_num(-slope / (found * spread).clamp(min=tiny))
        rate = (rate + step.clamp_(-50, 50)).clamp_(0, MAX_R2STAR_PER_S)
        if not float(step.abs().max()) > _SMALL_STEP_PER_S:
            break
    at_first, spread, _ = _moments(rate, trust, signal, powers)
    s0 = at_first * torch.exp(times[0] * rate)
    # the bound of S0: no decay within the first echo can be larger than what the echoes resolve
    spacing = min(b - a for a, b in pairwise(echo_times_s))
    most = measured.amax(0) * math.exp(min(10.0, 2 * echo_times_s[0] / spacing + 1))
    error = noise / (at_first.square() * spread).clamp(min=tiny).sqrt()
    return (
        rate,
        (1 / rate.clamp(min=1 / longest)) * (measured.amax(0) > 0),
        torch.minimum(torch.nan_to_num(s0).clamp(min=0), most),
        torch.nan_to_num(error, nan=MAX_R2STAR_PER_S).clamp(max=MAX_R2STAR_PER_S),
    )


def _moments(
    rate: Tensor, trust: Tensor, signal: Tensor, powers: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the signal at the first echo and, over it, what a step of the rate is made of.

    These are the spread of the echo times under the weights and the decay, and how far the signal
    is off the decay along them. Times count from the first echo, which outweighs the others where
    the decay is fast: so nothing cancels.
    """
    decay = torch.exp(-powers[1][:, None] * rate)
    weighted = trust * decay
    norm, first, second = powers @ (weighted * decay)
    norm = norm.clamp(min=torch.finfo(norm.dtype).tiny)
    level, along = powers[:2] @ (weighted * signal)
    mean = first / norm
    return level / norm, second - mean * first, along - mean * level


def _weight(measured: Tensor, noise: float) -> Tensor:
    """Return how well the signal is known from a magnitude: 1, and less near the noise floor."""
    if noise <= 0:
        return torch.ones_like(measured)
    ratio = (measured / (_FLOOR * noise)).square()
    return (1 - 1 / ratio.clamp(min=1)).clamp(min=0.02)


def _log_linear(signal: Tensor, times: Tensor) -> Tensor:
    tiny = torch.finfo(signal.dtype).tiny
    weight = signal.square()
    log_signal = signal.clamp(min=tiny).log()
    total = weight.sum(0).clamp(min=tiny)
    mean_time = (weight * times).sum(0) / total
    mean_log = (weight * log_signal).sum(0) / total
    spread = (weight * (times - mean_time).square()).sum(0).clamp(min=tiny)
    rate = -(weight * (times - mean_time) * (log_signal - mean_log)).sum(0) / spread
    return torch.nan_to_num(rate)
