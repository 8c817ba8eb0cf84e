"""Gaussian smoothing in mm, of volumes and of phase."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from qsm_pipeline.numerics.core.bounding_box import BoundingBox
from qsm_pipeline.numerics.core.grid import Grid

PHASE_PASSES = 4
"""One pass is off by the slope times the shift of the window's centre, which the mask's surface
cuts by 0.8 standard deviations; smoothing what is left three times more brings that to a tenth."""
NODE_STEP, NODES_BEYOND, NODES_PAY = 0.5, 3.0, 0.6
"""Distance of the nodes of a Gaussian and how far they reach beyond the volume, both in standard
deviations: their sum is exact to single precision. They are used where they are fewer than this
share of the voxels."""


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
    """Convolution with a Gaussian of unit sum on a volume that is zero beyond its borders.

    A Gaussian is a product of one along each axis. A wide one along an axis is two narrower ones,
    the first of which is only taken at nodes: each of them is a small matrix.

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
        axes = [
            (n, voxel / sigma_mm) for n, voxel in zip(grid.shape, grid.voxel_size_mm, strict=True)
        ]
        nodes = [_nodes(*axis) for axis in axes]
        each: list[tuple[np.ndarray, ...]]
        if all(len(k) < NODES_PAY * n for k, n in zip(nodes, grid.shape, strict=True)):
            each = [_through(k, *axis) for k, axis in zip(nodes, axes, strict=True)]
        else:
            each = [(_matrix(*axis),) for axis in axes]
        self.stages = [
            [torch.from_numpy(matrix).to(like.dtype).to(like.device) for matrix in matrices]
            for matrices in zip(*each, strict=True)
        ]

    def __call__(self, volume: Tensor) -> Tensor:
        """Return the blurred volume."""
        for along_x, along_y, along_z in self.stages:
            volume = torch.tensordot(along_x, along_y @ (volume @ along_z.T), 1)
        return volume


def _matrix(count: int, step: float) -> np.ndarray:
    """Return what blurs so many voxels, whose size is given in standard deviations."""
    reach = count + math.ceil(6 / step)
    window = np.exp(-0.5 * (np.arange(-reach, reach + 1) * step) ** 2)
    number = np.arange(count)
    return window[number[:, None] - number + reach] / window.sum()


def _nodes(count: int, step: float) -> np.ndarray:
    middle = (count - 1) * step / 2
    half = math.ceil((middle + NODES_BEYOND) / NODE_STEP)
    return middle + np.arange(-half, half + 1) * NODE_STEP


def _through(nodes: np.ndarray, count: int, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Return two matrices, to nodes and back to voxels, whose product is :func:`_matrix`."""
    narrower = np.exp(-((np.arange(count)[:, None] * step - nodes) ** 2)) / math.sqrt(math.pi)
    return step * narrower.T, NODE_STEP * narrower


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
        rest = phase - smooth
        real, imaginary = blur(rest.cos().mul_(weights)), blur(rest.sin_().mul_(weights))
        smooth += torch.atan2(imaginary, real)
    return box.paste(smooth)
