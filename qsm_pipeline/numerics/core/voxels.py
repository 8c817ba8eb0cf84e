"""Voxels of a mask: by number, many times as fast as indexing with the mask, and around it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

SAMPLES = 200_000
"""Voxels that are enough for medians and means of a whole head."""


def any_of(mask: Tensor) -> bool:
    """Return whether a mask, which is not of size zero, holds a voxel."""
    return bool(mask.view(torch.uint8).max())


def voxels_of(mask: Tensor) -> Tensor:
    """Return the flat indices of the voxels of a mask, shape (N,)."""
    return mask.flatten().nonzero()[:, 0]


def some_of(mask: Tensor, most: int = SAMPLES) -> Tensor:
    """Return flat indices of at most so many voxels, evenly spread over a mask."""
    inside = voxels_of(mask)
    return inside[:: 1 + len(inside) // most]


def at(volumes: Tensor, voxels: Tensor) -> Tensor:
    """Return the values of volumes, shape (..., X, Y, Z), at flat indices, shape (..., N)."""
    return volumes.flatten(-3).index_select(-1, voxels)


def sum_around(volume: Tensor, axis: int, reach: int, dtype: torch.dtype | None = None) -> Tensor:
    """Return the sum over ``2 * reach + 1`` voxels along an axis, zero beyond the borders."""
    n, size = volume.shape[axis], 2 * reach + 1
    widths = [0] * 6
    widths[4 - 2 * axis], widths[5 - 2 * axis] = reach + 1, reach
    total = pad(volume, widths).cumsum(axis, dtype=dtype)
    return total.narrow(axis, size, n) - total.narrow(axis, 0, n)


def grown(mask: Tensor, reach: Sequence[int]) -> Tensor:
    """Return a mask of 3D with the voxels around it: a box of so many along each axis."""
    for axis, n in enumerate(reach):
        mask = sum_around(mask, axis, n, torch.int32) > 0
    return mask
