"""Images for the eye: susceptibility-weighted magnitude and its minimum over a slab."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import max_pool3d

from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.units import rad_per_s_per_ppm
from qsm_pipeline.numerics.params.maps import WeightingParams

BEST_ECHO_TIME_S_T = 0.06
"""Echo time times field strength at which veins show well: 20 ms at 3 T
(Haacke et al. 2009, doi:10.3174/ajnr.A1400)."""


def weighting_echo(echo_times_s: tuple[float, ...], b0_tesla: float) -> int:
    """Return the index of the echo whose time is nearest to the best one at this field."""
    best = BEST_ECHO_TIME_S_T / b0_tesla
    return min(range(len(echo_times_s)), key=lambda echo: abs(echo_times_s[echo] - best))


def phase_weighted(
    magnitude: Tensor,
    local_field_ppm: Tensor,
    echo_time_s: float,
    b0_tesla: float,
    params: WeightingParams,
) -> Tensor:
    """Return the classical susceptibility-weighted image.

    Parameters
    ----------
    magnitude : torch.Tensor, shape (X, Y, Z)
        One echo.
    local_field_ppm : torch.Tensor, shape (X, Y, Z)
        Local field, which takes the place of the high-pass filtered phase.
    echo_time_s : float
        Of that echo.
    b0_tesla : float
        Field strength.
    params : WeightingParams
        Strength.

    Returns
    -------
    torch.Tensor, shape (X, Y, Z)
        The magnitude, darker where the field is above its surroundings, as in veins along B0. What
        is diamagnetic darkens too, but beside itself: the field does not tell the two apart.

    References
    ----------
    Haacke et al. 2004, doi:10.1002/mrm.20198, for phase that grows with the field.
    """
    phase = local_field_ppm * rad_per_s_per_ppm(b0_tesla) * echo_time_s
    return magnitude * (1 - phase / math.pi).clamp(0, 1) ** params.phase_power


def chi_weighted(magnitude: Tensor, chi_ppm: Tensor, params: WeightingParams) -> Tensor:
    """Return the true susceptibility-weighted image.

    Parameters
    ----------
    magnitude, chi_ppm : torch.Tensor, shape (X, Y, Z)
        Magnitude of one echo, and susceptibility relative to the whole brain.
    params : WeightingParams
        Strength.

    Returns
    -------
    torch.Tensor, shape (X, Y, Z)
        The magnitude, darker where the susceptibility is positive, in any direction to B0.
        Calcium, which is negative, keeps its magnitude.

    References
    ----------
    Liu et al. 2014, doi:10.1002/jmri.24413.
    """
    return magnitude * (1 - chi_ppm / params.chi_full_ppm).clamp(0, 1) ** params.chi_power


def minimum_projection(image: Tensor, mask: Tensor, grid: Grid, slab_mm: float) -> Tensor:
    """Return the minimum over a slab that moves along the voxel axis nearest to B0.

    Parameters
    ----------
    image : torch.Tensor, shape (X, Y, Z)
        Susceptibility-weighted image, not negative.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Brain; what lies outside is left out of the minimum.
    grid : Grid
        Geometry.
    slab_mm : float
        Thickness; an odd number of slices, at least one.

    Returns
    -------
    torch.Tensor, shape (X, Y, Z)
        In each slice the minimum of those around it; zero outside the mask.
    """
    axis = max(range(3), key=lambda a: abs(grid.b0_dir[a]))
    half = int(slab_mm / grid.voxel_size_mm[axis] / 2)
    size = [2 * half + 1 if a == axis else 1 for a in range(3)]
    padding = [half if a == axis else 0 for a in range(3)]
    negative = torch.where(mask, -image, -torch.inf)
    lowest = -max_pool3d(negative[None, None], size, stride=1, padding=padding)[0, 0]
    return torch.where(mask, lowest, 0.0)
