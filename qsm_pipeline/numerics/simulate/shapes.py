"""Signed distances of simple bodies: negative inside, in mm, at points of shape (N, 3).

Points are best stored coordinate by coordinate (as the transpose of a (3, N) tensor): sums over
three neighbours in memory are slow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

Point = Sequence[float]


def some(points: Tensor, index: Tensor) -> Tensor:
    """Return the points at an index, stored coordinate by coordinate."""
    return points.T[:, index].T


def length(vectors: Tensor) -> Tensor:
    """Return the lengths of vectors, shape (N, 3); faster than a norm in this layout."""
    x, y, z = vectors.unbind(1)
    return (x * x + y * y + z * z).sqrt()


def ellipsoid(points: Tensor, centre: Point, semi_axes: Point, yaw_deg: float = 0.0) -> Tensor:
    """Return the distance to an ellipsoid (first order), turned about z by ``yaw_deg``."""
    d = points - points.new_tensor(centre)
    if yaw_deg:
        c, s = math.cos(math.radians(yaw_deg)), math.sin(math.radians(yaw_deg))
        d = (points.new_tensor([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]]) @ d.T).T
    scaled = d / points.new_tensor(semi_axes)
    level = length(scaled)
    slope = length(scaled / points.new_tensor(semi_axes))
    return torch.where(slope > 0, level * (level - 1) / slope.clamp(min=1e-9), -min(semi_axes))


def tube(points: Tensor, path: Sequence[Point], radii: Sequence[float]) -> Tensor:
    """Return the distance to a tube along a path whose radius changes from corner to corner."""
    best = points.new_full((len(points),), math.inf)
    for i in range(len(path) - 1):
        start, along = points.new_tensor(path[i]), points.new_tensor(path[i + 1])
        along = along - start
        t = ((points - start) @ along / along.dot(along)).clamp(0, 1)
        gap = length(points - start - t[:, None] * along)
        best = torch.minimum(best, gap - radii[i] - t * (radii[i + 1] - radii[i]))
    return best


def union(a: Tensor, b: Tensor, blend_mm: float = 0.0) -> Tensor:
    """Return the union of two bodies, its crease filled over ``blend_mm``."""
    if blend_mm == 0:
        return torch.minimum(a, b)
    h = (blend_mm - (a - b).abs()).clamp(min=0) / blend_mm
    return torch.minimum(a, b) - h.square() * (blend_mm / 4)


def without(a: Tensor, b: Tensor, blend_mm: float = 0.0) -> Tensor:
    """Return the first body where the second is not."""
    return -union(-a, b, blend_mm)


def occupancy(distance: Tensor, blur_mm: float) -> Tensor:
    """Return the share of a voxel that lies inside, for a point spread of ``blur_mm`` (SD)."""
    return 0.5 * torch.erfc(distance / (math.sqrt(2) * blur_mm))
