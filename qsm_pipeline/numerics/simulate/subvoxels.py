"""Voxels cut into parts: the signal of a voxel is the sum over the parts."""

from __future__ import annotations

import numpy as np
from torch import Tensor
from torch.nn.functional import avg_pool3d

Parts = tuple[int, int, int]


def cube_parts(affine: np.ndarray) -> Parts:
    """Return into how many parts each axis is cut to make about cubes of anisotropic voxels."""
    voxel = np.linalg.norm(affine[:3, :3], axis=0)
    return tuple(int(p) for p in np.maximum(np.round(voxel / voxel.min()), 1))  # type: ignore[return-value]


def subdivided(affine: np.ndarray, parts: Parts) -> np.ndarray:
    """Return the affine of the grid of parts, whose first centre lies inside the first voxel."""
    finer = np.array(affine, dtype=float)
    finer[:3, :3] = affine[:3, :3] / np.asarray(parts)
    first = (1 / np.asarray(parts) - 1) / 2  # centre of the first part, in voxels
    finer[:3, 3] = affine[:3, :3] @ first + affine[:3, 3]
    return finer


def merge(x: Tensor, parts: Parts) -> Tensor:
    """Average the parts of each voxel, shape (X * p, Y * q, Z * r) to (X, Y, Z)."""
    return x if parts == (1, 1, 1) else avg_pool3d(x[None], parts)[0]


def repeat(x: Tensor, parts: Parts) -> Tensor:
    """Give each part the value of its voxel."""
    for axis, count in enumerate(parts):
        x = x.repeat_interleave(count, dim=axis)
    return x


def most_frequent(labels: Tensor, parts: Parts) -> Tensor:
    """Return the commonest value of each voxel's parts."""
    for axis, count in enumerate(parts):
        labels = labels.unfold(axis, count, count)
    return labels.reshape(*labels.shape[:3], -1).mode(dim=-1).values
