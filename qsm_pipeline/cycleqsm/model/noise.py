"""Noise of a local field, from the part of k-space that no susceptibility can explain."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from qsm_pipeline.numerics.core.fourier import frequencies, rfft3
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.kernels import dipole_kernel

CONE = 0.06
"""Where ``|D|`` is smaller, the field is noise."""
SMALLEST_FREQUENCY = 0.5
"""As a fraction of the Nyquist frequency; below it the edge of the mask leaks into the cone."""
LEAST_NOISE = 0.02
"""Over a field's standard deviation: no field is believed to be less noisy."""


def field_noise_ppm(field_ppm: Tensor, mask: Tensor, grid: Grid) -> float | None:
    """Estimate the standard deviation of white noise in a local field.

    Parameters
    ----------
    field_ppm : torch.Tensor, shape (X, Y, Z)
        Local field.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where it is valid.
    grid : Grid
        Geometry.

    Returns
    -------
    float, optional
        In ppm; proportional to the field. None where the mask is too small or thin to tell.

    Notes
    -----
    Inside the cone of the dipole kernel's zeros the spectrum of the field holds noise alone. The
    mask is tapered at its edge, and the median makes single strong sources harmless.
    """
    window = _taper(mask.to(field_ppm))
    energy = float(window.square().sum())
    if energy < 64:
        return None
    spectrum = rfft3(field_ppm * window)
    axes = frequencies(grid.shape, grid.voxel_size_mm, device=field_ppm.device)
    relative = [2 * k.abs() * v for k, v in zip(axes, grid.voxel_size_mm, strict=True)]
    radius = sum(r.square() for r in relative).sqrt()  # type: ignore[union-attr]
    kernel = dipole_kernel(grid, device=field_ppm.device)
    cone = (kernel.abs() < CONE) & (radius > SMALLEST_FREQUENCY)
    power = (spectrum.real.square() + spectrum.imag.square())[cone]
    if not power.numel():
        return None
    return math.sqrt(float(power.median()) / math.log(2) / energy)  # power is exponential


def _taper(mask: Tensor, width: int = 4) -> Tensor:
    """Return a window that falls smoothly to zero at the edge of the mask."""
    size = 2 * width + 1
    window = mask
    for axis, n in enumerate(mask.shape):
        widths = [0] * 6
        widths[4 - 2 * axis], widths[5 - 2 * axis] = width + 1, width
        total = pad(window, widths).cumsum(axis)  # of whole numbers, so exact
        window = total.narrow(axis, size, n) - total.narrow(axis, 0, n)
    window = (2 * window / size**3 - 1).clamp(min=0) * mask
    return torch.sin(0.5 * math.pi * window).square()
