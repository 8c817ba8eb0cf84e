"""Signal-to-noise ratio of the magnitude without a region of air."""

from __future__ import annotations

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.order import upper_fraction
from qsm_pipeline.numerics.core.smoothing import moving_mean

_GAIN = 6**1.5  # of white noise through the second difference along three axes
_CUBE = 5
_QUIETEST = 0.1


def signal_to_noise(magnitude: Tensor, mask: Tensor) -> float | None:
    """Return the median signal over the standard deviation of the noise.

    The noise is what is left of the image after the second difference along all three axes, which
    removes everything that is smooth along any of them. Its size is taken in cubes of five voxels,
    and of these the tenth percentile, as most others hold edges too. No air is needed, which many
    scanners set to zero.

    Parameters
    ----------
    magnitude : torch.Tensor, shape (X, Y, Z)
        One echo.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Brain.

    Returns
    -------
    float or None
        None if no cube of seven voxels lies in the mask or the image has no noise. Interpolated
        images look better than they are, because their noise is smooth too.

    References
    ----------
    The filter in two dimensions: Immerkaer 1996, doi:10.1006/cviu.1996.0060.
    """
    if min(magnitude.shape) < _CUBE + 2:
        return None
    detail, inner = magnitude, mask
    for axis in range(3):
        detail = torch.diff(detail, n=2, dim=axis)
        n = inner.shape[axis] - 2
        inner = inner.narrow(axis, 0, n) & inner.narrow(axis, 1, n) & inner.narrow(axis, 2, n)

    def mean_in_cube(volume: Tensor) -> Tensor:
        for axis in range(3):
            volume = moving_mean(volume, _CUBE, axis)
        return volume

    whole = mean_in_cube(inner.to(detail.dtype)) > 1 - 0.5 / _CUBE**3
    if not whole.any():
        return None
    energy = mean_in_cube(detail.square())[whole]
    noise = upper_fraction(energy, 1 - _QUIETEST) ** 0.5 / _GAIN
    return float(magnitude[mask].median()) / noise if noise > 0 else None
