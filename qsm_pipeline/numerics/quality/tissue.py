"""Whether a map has the values of a brain: size, and iron where the signal is dark."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d

from qsm_pipeline.numerics.core.grid import Grid

_TAIL = 0.01
_AROUND_MM = 6.0
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


def iron_decays(
    chi_ppm: Tensor, magnitude: Tensor, brain: Tensor, where: Tensor, grid: Grid
) -> float | None:
    """Return how paramagnetic the map is where the magnitude is dark beside its surroundings.

    Parameters
    ----------
    chi_ppm, magnitude : torch.Tensor, shape (X, Y, Z)
        Susceptibility, and magnitude of the last echo.
    brain, where : torch.Tensor, shape (X, Y, Z), bool
        Brain, whose magnitude is the surroundings, and voxels that count.
    grid : Grid
        Geometry, of the size of an adult's head.

    Returns
    -------
    float or None
        Mean of the map in the darkest percent of voxels, less its median, over half the distance
        between its 16th and 84th percentile. Positive in brains, whose veins and nuclei decay
        fast, about 0 where map and magnitude are not of the same head, negative where the sign is
        wrong.
    """
    size = spread_ppm(chi_ppm, where)
    if not size:
        return None
    width = [2 * max(1, round(_AROUND_MM / v)) + 1 for v in grid.voxel_size_mm]
    weight = brain.to(chi_ppm.dtype)

    def sums(volume: Tensor) -> Tensor:
        padding = [n // 2 for n in width]
        return avg_pool3d(volume[None, None], width, 1, padding)[0, 0]

    around = sums(magnitude * weight) / sums(weight).clamp(min=1e-6)
    brightness = magnitude[where] / around[where].clamp(min=torch.finfo(around.dtype).tiny)
    values = chi_ppm[where]
    dark = brightness <= brightness.kthvalue(max(1, round(_TAIL * brightness.numel()))).values
    return float(values[dark].mean() - values.median()) / size
