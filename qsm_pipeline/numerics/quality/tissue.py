"""Whether a map has the values of a brain: size, and iron where the signal decays fast."""

from __future__ import annotations

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.order import upper_fraction

_TAIL = 0.01
_FEWEST = 1000


def spread_ppm(chi_ppm: Tensor, where: Tensor) -> float | None:
    """Return half the distance between the 16th and 84th percentile of a map; shape (X, Y, Z)."""
    values = chi_ppm[where]
    if values.numel() < _FEWEST:
        return None
    low, high = (float(values.kthvalue(round(q * values.numel())).values) for q in (0.16, 0.84))
    return (high - low) / 2


def iron_ppm(chi_ppm: Tensor, where: Tensor) -> float | None:
    """Return the 99.5th percentile of a map less its median: nuclei and veins; shape (X, Y, Z)."""
    values = chi_ppm[where]
    if values.numel() < _FEWEST:
        return None
    return float(values.kthvalue(round(0.995 * values.numel())).values - values.median())


def iron_decays(chi_ppm: Tensor, magnitude: Tensor, where: Tensor) -> float | None:
    """Return how paramagnetic the map is where the signal decays fastest.

    Parameters
    ----------
    chi_ppm : torch.Tensor, shape (X, Y, Z)
        Susceptibility.
    magnitude : torch.Tensor, shape (E, X, Y, Z)
        Of at least two echoes.
    where : torch.Tensor, shape (X, Y, Z), bool
        Voxels that count.

    Returns
    -------
    float or None
        Mean of the map in the percent of voxels that decay fastest, less its median, over half
        the distance between its 16th and 84th percentile. Positive in brains, about 0 where map
        and magnitude are not of the same head, negative where the sign is wrong. None for one
        echo.
    """
    size = spread_ppm(chi_ppm, where)
    if len(magnitude) < 2 or not size:
        return None
    tiny = torch.finfo(magnitude.dtype).tiny
    decay = (magnitude[0][where].clamp(min=tiny) / magnitude[-1][where].clamp(min=tiny)).log()
    values = chi_ppm[where]
    fast = decay >= upper_fraction(decay, _TAIL)
    return float(values[fast].mean() - values.median()) / size
