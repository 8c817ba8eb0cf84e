"""What a local field has too much or too little of: background, noise, stripes."""

from __future__ import annotations

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.smoothing import GaussianBlur
from qsm_pipeline.numerics.core.white_noise import white_noise

LONG_MM = 10.0
"""Standard deviation of the window whose mean counts as long waves."""
_PLACE_MM = 12.0


def background_ratio(
    total_field_ppm: Tensor, local_field_ppm: Tensor, where: Tensor
) -> float | None:
    """Return the typical size of the total field over that of the local field.

    The background of a whole head is much larger than the field of its brain, unless the phase
    was filtered. Volumes have the shape (X, Y, Z); None where the local field is zero.
    """
    if not where.any():
        return None
    total, local = (x[where] - x[where].median() for x in (total_field_ppm, local_field_ppm))
    size = float(local.abs().median())
    return float(total.abs().median()) / size if size > 0 else None


def long_waves_percent(field_ppm: Tensor, where: Tensor, grid: Grid) -> float | None:
    """Return the size of the smooth part of a field over that of the field, in percent.

    Parameters
    ----------
    field_ppm : torch.Tensor, shape (X, Y, Z)
        Local field, or what a map leaves of it.
    where : torch.Tensor, shape (X, Y, Z), bool
        Where it is known.
    grid : Grid
        Geometry.

    Returns
    -------
    float or None
        Root mean squares without means, the part being the mean in a window of :data:`LONG_MM`.
        Background that was left raises it, a high-pass filter lowers it.
    """
    if not where.any():
        return None
    values = torch.where(where, field_ppm - field_ppm[where].mean(), 0.0)
    whole = float(values[where].norm())
    smooth = _smoothed(values, where, grid, LONG_MM)
    return 100 * float(smooth[where].norm()) / whole if whole > 0 else None


def unevenness(residual_ppm: Tensor, where: Tensor, grid: Grid) -> float | None:
    """Return how much larger the residual is in its worst place than typically.

    Parameters
    ----------
    residual_ppm : torch.Tensor, shape (X, Y, Z)
        Field less the field of the map.
    where : torch.Tensor, shape (X, Y, Z), bool
        Voxels away from the surface.
    grid : Grid
        Geometry.

    Returns
    -------
    float or None
        Root mean square in windows of about 3 cm: the largest percent of voxels left out, over
        the median.
    """
    if int(where.sum()) < 1000:
        return None
    power = _smoothed(torch.where(where, residual_ppm.square(), 0.0), where, grid, _PLACE_MM)
    values = power[where].sqrt()
    middle = float(values.median())
    count = max(1, round(0.99 * values.numel()))
    return float(values.kthvalue(count).values) / middle if middle > 0 else None


def slice_ripple_percent(field_ppm: Tensor, where: Tensor) -> float | None:
    """Return how much whole slices stand out from their neighbours, in percent of the field.

    Second differences of the means of slices, along the axis where they are largest, over the
    field's standard deviation. Volumes have the shape (X, Y, Z).
    """
    if not where.any():
        return None
    size = float(field_ppm[where].std())
    if size == 0:
        return None
    worst = 0.0
    for axis in range(3):
        n = field_ppm.shape[axis] - 2
        if n < 3:
            continue
        common = where.narrow(axis, 0, n) & where.narrow(axis, 1, n) & where.narrow(axis, 2, n)
        second = torch.diff(field_ppm, n=2, dim=axis) * common
        others = [other for other in range(3) if other != axis]
        count = common.sum(others)
        full = count > 0.3 * count.max()
        if int(full.sum()) >= 3:
            means = second.sum(others)[full] / count[full]
            worst = max(worst, float(means.abs().median()))
    return 100 * worst / size


def white_noise_percent(field_ppm: Tensor, where: Tensor) -> float | None:
    """Return the white noise of a field, shape (X, Y, Z), over its typical size, in percent."""
    if not where.any():
        return None
    size = 1.4826 * float((field_ppm[where] - field_ppm[where].median()).abs().median())
    noise = white_noise(field_ppm[None], where)
    return 100 * noise / size if noise is not None and size > 0 else None


def _smoothed(values: Tensor, where: Tensor, grid: Grid, sigma_mm: float) -> Tensor:
    """Return the weighted mean over a window of what lies in the mask."""
    blur = GaussianBlur(grid, sigma_mm, values)
    return blur(values) / blur(where.to(values.dtype)).clamp(min=1e-3)
