"""The echo time at which the phase of the field is zero, which should be 0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.voxels import at, voxels_of
from qsm_pipeline.numerics.phase.offset import wrap

FAR = 0.25
"""Of the first echo time: simulated scans have less than a tenth."""
_STEP_MM = 3.0
"""Finer than what the removal of the phase offset takes away, and coarser than noise."""
_STEEP_RAD = 1.5
_FURTHEST = 2.0
_FEWEST = 500
_ENOUGH = 300_000
"""Voxels of the brain; of more, slices are left out."""
_PIECES = 11
"""Of the brain, each of which tells; a fringe line of the coils spoils few of them."""


def phase_origin_s(
    phase_rad: Tensor,
    magnitude: Tensor,
    mask: Tensor,
    echo_times_s: Sequence[float],
    grid: Grid,
) -> float | None:
    """Find the echo time at which structures begin to appear in the phase.

    It is 0, unless the phase was divided by that of another echo, as some combinations of coils
    do, or all echo times are off by the same.

    Parameters
    ----------
    phase_rad : torch.Tensor, shape (E, X, Y, Z)
        Wrapped phase without its smooth offset.
    magnitude : torch.Tensor, shape (E, X, Y, Z)
        Magnitude in any unit.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where there is signal.
    echo_times_s : sequence of float, length E
        Increasing.
    grid : Grid
        Geometry.

    Returns
    -------
    float or None
        In seconds. None with one echo, too few voxels, or if it would lie after the first
        echo, or far before 0.

    Notes
    -----
    The first two echoes tell intercept and slope of small structures, both with the same noise.
    So each voxel is compared with one beside it, whose noise is another and whose structures are
    similar (an instrumental variable).
    """
    if len(echo_times_s) < 2:
        return None
    products, squares = torch.zeros(2, _PIECES, dtype=torch.float64)
    count = 0
    steps = [max(1, round(_STEP_MM / voxel_mm)) for voxel_mm in grid.voxel_size_mm]
    ends = phase_rad[[0, 1]]
    first, second = echo_times_s[:2]
    every = 1 + int(mask.sum()) // _ENOUGH
    for axis in range(3):
        places = _Places(axis, steps, every)
        inside = torch.ones_like(places.of(mask, 0, 0))
        bends = []
        for j in (0, 1):
            for i in range(3):
                inside &= places.of(mask, i, j)
            middle = places.of(ends, 1, j)
            bends.append(
                wrap(places.of(ends, 0, j) - middle) + wrap(places.of(ends, 2, j) - middle)
            )
        inside = voxels_of(inside)
        here, there = (at(bend, inside) for bend in bends)
        flat = torch.cat([here, there]).abs().amax(0) < _STEEP_RAD
        size = places.of(magnitude[0], 1, 0) * places.of(magnitude[0], 1, 1)
        size = at(size, inside) * flat
        for one, other in ((here, there), (there, here)):
            slope = wrap(one[1] - one[0]) / (second - first)
            for total, values in ((products, one[0] - first * slope), (squares, slope)):
                agreed = (size * values * wrap(other[1])).double()
                pieces = agreed.tensor_split(_PIECES)
                total += torch.stack([piece.sum() for piece in pieces]).cpu()
        count += int(flat.sum())
    if count < _FEWEST or not (squares > 0).any():
        return None
    origin_s = -float((products / squares)[squares > 0].median())
    return origin_s if -_FURTHEST * first < origin_s < first else None


class _Places(NamedTuple):
    """Voxels at three places along an axis and at two beside each other."""

    axis: int
    steps: Sequence[int]
    every: int

    def of(self, x: Tensor, i: int, j: int) -> Tensor:
        """Return the volumes at the place ``i`` along the axis and ``j`` aside."""
        aside, rest = (self.axis + 1) % 3, (self.axis + 2) % 3
        for axis, place, last in ((self.axis, i, 2), (aside, j, 1)):
            n, step = x.shape[axis - 3], self.steps[axis]
            x = x.narrow(axis - 3, place * step, max(0, n - last * step))
        some: list[Any] = [..., slice(None), slice(None), slice(None)]
        some[rest - 3] = slice(None, None, self.every)
        return x[tuple(some)]
