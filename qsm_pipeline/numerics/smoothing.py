"""Gaussian smoothing in mm that ignores what lies outside a mask."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from qsm_pipeline.numerics.fourier import crop_to, fast_shape, frequencies, irfft3, pad_to, rfft3
from qsm_pipeline.numerics.grid import Grid


def gaussian_smooth(x: Tensor, weights: Tensor, grid: Grid, sigma_mm: float) -> Tensor:
    """Return the weighted local mean of ``x`` under a Gaussian window.

    Parameters
    ----------
    x : torch.Tensor, shape (..., X, Y, Z)
        Real or complex volumes.
    weights : torch.Tensor, shape (X, Y, Z)
        Non-negative, zero where ``x`` is to be ignored.
    grid : Grid
        Geometry.
    sigma_mm : float
        Standard deviation of the window, the same along all axes.

    Returns
    -------
    torch.Tensor, shape (..., X, Y, Z)
        Smoothed everywhere, also outside the weights' support as far as the window reaches;
        zero beyond.
    """
    if x.is_complex():
        real, imaginary = (gaussian_smooth(p, weights, grid, sigma_mm) for p in (x.real, x.imag))
        return torch.complex(real, imaginary)
    shape = fast_shape(grid.shape, [math.ceil(3 * sigma_mm / v) for v in grid.voxel_size_mm])
    window = 1.0
    for k in frequencies(shape, grid.voxel_size_mm, device=x.device, dtype=x.dtype):
        window = window * torch.exp(-2 * (math.pi * sigma_mm * k) ** 2)

    def blur(volume: Tensor) -> Tensor:
        return crop_to(irfft3(rfft3(pad_to(volume, shape)) * window, shape), grid.shape)

    mass = blur(weights.to(x.dtype))
    floor = 1e-5 * mass.max()
    return torch.where(mass > floor, blur(x * weights) / mass.clamp(min=floor), 0.0)
