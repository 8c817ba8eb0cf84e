"""Gaussian smoothing in mm, of volumes and of phase."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.bounding_box import BoundingBox
from qsm_pipeline.numerics.core.fourier import (
    crop_to,
    fast_shape,
    frequencies,
    irfft3,
    pad_to,
    rfft3,
)
from qsm_pipeline.numerics.core.grid import Grid

PHASE_PASSES = 4
"""One pass is off by the slope times the shift of the window's centre, which the mask's surface
cuts by 0.8 standard deviations; smoothing what is left three times more brings that to a tenth."""


def moving_mean(volume: Tensor, width: int, axis: int) -> Tensor:
    """Return the mean of each ``width`` neighbours along one axis, where all of them exist.

    The axis becomes shorter by ``width - 1``.
    """
    n = volume.shape[axis] - width + 1
    total = volume.narrow(axis, 0, n).clone()
    for first in range(1, width):
        total += volume.narrow(axis, first, n)
    return total.div_(width)


class GaussianBlur:
    """Convolution with a Gaussian of unit sum on a zero-padded volume.

    Parameters
    ----------
    grid : Grid
        Geometry.
    sigma_mm : float
        Standard deviation, the same along all axes.
    like : torch.Tensor
        Of the type and on the device of the volumes to come.
    """

    def __init__(self, grid: Grid, sigma_mm: float, like: Tensor) -> None:
        self.grid = grid
        margin = [math.ceil(3 * sigma_mm / v) for v in grid.voxel_size_mm]
        self.shape = fast_shape(grid.shape, margin)
        self.window: float | Tensor = 1.0
        for k in frequencies(self.shape, grid.voxel_size_mm, device=like.device, dtype=like.dtype):
            self.window = self.window * torch.exp(-2 * (math.pi * sigma_mm * k) ** 2)

    def __call__(self, volume: Tensor) -> Tensor:
        """Return the blurred volume, as if it were zero beyond its borders."""
        spectrum = rfft3(pad_to(volume, self.shape)).mul_(self.window)
        return crop_to(irfft3(spectrum, self.shape), self.grid.shape)


def smooth_phase(phase_rad: Tensor, weights: Tensor, grid: Grid, sigma_mm: float) -> Tensor:
    """Return the smooth part of a phase, up to the surface of where it is known.

    Parameters
    ----------
    phase_rad : torch.Tensor, shape (X, Y, Z)
        Phase, wrapped or not: only its phasor is used.
    weights : torch.Tensor, shape (X, Y, Z)
        Non-negative, zero where the phase is to be ignored; somewhere positive.
    grid : Grid
        Geometry.
    sigma_mm : float
        Standard deviation of the window.

    Returns
    -------
    torch.Tensor, shape (X, Y, Z)
        In rad, a sum of wrapped phases; zero outside the box around the weights.

    References
    ----------
    Smoothing the residual again: Tukey 1977, Exploratory Data Analysis ("twicing").
    """
    box = BoundingBox.of(weights > 0, grid)
    phase, weights = box.cut(phase_rad), box.cut(weights)
    blur = GaussianBlur(box.inner, sigma_mm, phase)
    smooth = torch.zeros_like(phase)
    for _ in range(PHASE_PASSES):
        rest = torch.polar(weights, phase - smooth)
        smooth += torch.atan2(blur(rest.imag), blur(rest.real))
    return box.paste(smooth)
