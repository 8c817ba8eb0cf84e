"""Unwrap along the cheapest edges first, from a seed in every connected part of the mask."""

from __future__ import annotations

import math

import numpy as np

from qsm_pipeline.numerics.core.jit import jit
from qsm_pipeline.numerics.unwrap.edge_costs import COSTS

_TWO_PI = 2 * math.pi


@jit
def _seed(costs, mask):
    """Return the flat index of the voxel with the cheapest edges, or -1 in an empty mask."""
    shape = mask.shape
    best, best_cost = -1, 1 << 30
    for x in range(shape[0]):
        for y in range(shape[1]):
            for z in range(shape[2]):
                if not mask[x, y, z]:
                    continue
                total = 0
                for axis in range(3):
                    c = costs[axis, x, y, z]
                    total += c if c > 0 else COSTS
                if total < best_cost:
                    best, best_cost = (x * shape[1] + y) * shape[2] + z, total
    return best


@jit
def grow(phase, costs, mask):
    """Unwrap ``phase`` in place and label the connected parts of the mask.

    Parameters
    ----------
    phase : numpy.ndarray, shape (X, Y, Z), float32
        Wrapped phase, unwrapped in place inside the mask.
    costs : numpy.ndarray, shape (3, X, Y, Z), uint8
        From :func:`edge_costs`.
    mask : numpy.ndarray, shape (X, Y, Z), bool
        Voxels to visit.

    Returns
    -------
    numpy.ndarray, shape (X, Y, Z), int32
        0 outside the mask, else the number of the connected part, starting at 1 with the one
        that holds the best seed.
    """
    shape = mask.shape
    size = mask.size
    strides = (shape[1] * shape[2], shape[2], 1)
    flat_phase, flat_mask = phase.reshape(size), mask.reshape(size)
    flat_costs = costs.reshape((3, size))
    part = np.zeros(size, np.int32)
    # A bucket queue of edges as linked lists: an edge enters when its first end is visited.
    head = np.full(COSTS, -1, np.int32)
    following = np.empty(3 * size, np.int32)  # volumes of up to 7e8 voxels
    number = 0
    scan = 0
    start = _seed(costs, mask)
    while start >= 0:
        number += 1
        part[start] = number
        lowest = COSTS
        voxel = start
        while True:
            # push the edges of the voxel just visited
            for axis in range(3):
                stride = strides[axis]
                c = flat_costs[axis, voxel]
                if c > 0 and part[voxel + stride] == 0:
                    edge = axis * size + voxel
                    following[edge] = head[c]
                    head[c] = edge
                    lowest = min(lowest, c)
                before = voxel - stride
                if before >= 0:
                    c = flat_costs[axis, before]
                    if c > 0 and part[before] == 0:
                        edge = axis * size + before
                        following[edge] = head[c]
                        head[c] = edge
                        lowest = min(lowest, c)
            # pop until an edge leads to a new voxel
            voxel = -1
            while lowest < COSTS:
                edge = head[lowest]
                if edge < 0:
                    lowest += 1
                    continue
                head[lowest] = following[edge]
                axis, near = edge // size, edge % size
                far = near + strides[axis]
                if part[near] > 0 and part[far] > 0:
                    continue
                known, voxel = (near, far) if part[near] > 0 else (far, near)
                jump = np.round((flat_phase[known] - flat_phase[voxel]) / _TWO_PI)
                flat_phase[voxel] += np.float32(_TWO_PI * jump)
                part[voxel] = number
                break
            if voxel < 0:
                break
        start = -1
        while scan < size:
            if flat_mask[scan] and part[scan] == 0:
                start = scan
                break
            scan += 1
    return part.reshape(shape)
