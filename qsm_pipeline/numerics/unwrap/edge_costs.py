"""ROMEO's edge weights, as integer costs for a bucket queue.

The edge between two neighbouring voxels is as reliable as the product of four coherences
(Dymerska 2021, doi:10.1002/mrm.28563): of the phase across the edge, of its growth from one echo
to the next, of its linearity along the axis, and of the magnitude.
"""

from __future__ import annotations

import math

import numpy as np

from qsm_pipeline.numerics.core.jit import jit

COSTS = 256
"""Number of buckets; cost 0 means that there is no edge."""

_TWO_PI = 2 * math.pi


@jit
def wrap(x):
    """Wrap to [-pi, pi]."""
    return x - _TWO_PI * np.round(x / _TWO_PI)


@jit
def _linearity(before, here, after):
    return max(0.0, 1 - abs(wrap(before - 2 * here + after)) / 2)


@jit
def edge_costs(phase, magnitude, second_phase, time_ratio, mask):
    """Return the cost of every edge to the next voxel along each axis.

    Parameters
    ----------
    phase : numpy.ndarray, shape (X, Y, Z), float32
        Wrapped phase to be unwrapped.
    magnitude : numpy.ndarray, shape (X, Y, Z) or (0, 0, 0), float32
        Magnitude, or empty to do without.
    second_phase : numpy.ndarray, shape (X, Y, Z) or (0, 0, 0), float32
        Wrapped phase of another echo, or empty to do without.
    time_ratio : float
        Echo time of ``phase`` over that of ``second_phase``.
    mask : numpy.ndarray, shape (X, Y, Z), bool
        Edges join two voxels of the mask.

    Returns
    -------
    numpy.ndarray, shape (3, X, Y, Z), uint8
        0 for no edge, else 1 (reliable) to 255.
    """
    shape = phase.shape
    costs = np.zeros((3, shape[0], shape[1], shape[2]), np.uint8)
    with_magnitude = magnitude.size > 0
    with_second = second_phase.size > 0
    for x in range(shape[0]):
        for y in range(shape[1]):
            for z in range(shape[2]):
                if not mask[x, y, z]:
                    continue
                for axis in range(3):
                    dx, dy, dz = axis == 0, axis == 1, axis == 2
                    u, v, w = x + dx, y + dy, z + dz
                    if u >= shape[0] or v >= shape[1] or w >= shape[2] or not mask[u, v, w]:
                        continue
                    a, b = phase[x, y, z], phase[u, v, w]
                    step = wrap(a - b)
                    weight = 0.1 + 0.9 * (1 - abs(step) / math.pi)
                    if with_second:
                        other = wrap(second_phase[x, y, z] - second_phase[u, v, w])
                        weight *= 0.1 + 0.9 * max(0.0, 1 - abs(step - other * time_ratio))
                    h, i, j = x - dx, y - dy, z - dz
                    k, m, n = u + dx, v + dy, w + dz
                    inside = h >= 0 and i >= 0 and j >= 0
                    inside = inside and k < shape[0] and m < shape[1] and n < shape[2]
                    if inside and mask[h, i, j] and mask[k, m, n]:
                        line = _linearity(phase[h, i, j], a, b) * _linearity(a, b, phase[k, m, n])
                    else:
                        line = 0.9
                    weight *= 0.1 + 0.9 * line
                    if with_magnitude:
                        p, q = magnitude[x, y, z], magnitude[u, v, w]
                        small, big = min(p, q), max(p, q)
                        weight *= 0.1 + 0.9 * ((small / big) ** 2 if big > 0 else 0.0)
                    cost = round((1 - weight) * (COSTS - 1))
                    costs[axis, x, y, z] = min(max(cost, 1), COSTS - 1)
    return costs
