"""Volumes turned so that the axis nearest to B0 is the last, as networks are trained on them."""

from __future__ import annotations

from collections.abc import Sequence

from qsm_pipeline.numerics.core.grid import Grid


def b0_last(grid: Grid) -> list[int]:
    """Return the axes in that order, otherwise as they are."""
    last = max(range(3), key=lambda axis: abs(grid.b0_dir[axis]))
    return [axis for axis in range(3) if axis != last] + [last]


def permuted(grid: Grid, order: Sequence[int]) -> Grid:
    """Return the grid of a volume whose axes are permuted."""
    return Grid(
        tuple(grid.shape[axis] for axis in order),
        tuple(grid.voxel_size_mm[axis] for axis in order),
        tuple(grid.b0_dir[axis] for axis in order),
    )
