"""Work on the box around a mask and paste the result back."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.grid import Grid


@dataclass(frozen=True)
class BoundingBox:
    """The box around a mask, in voxels.

    Parameters
    ----------
    slices : tuple of slice, length 3
        The box.
    grid : Grid
        The whole grid.
    """

    slices: tuple[slice, slice, slice]
    grid: Grid

    @classmethod
    def of(cls, mask: Tensor, grid: Grid, margin: int = 0) -> BoundingBox:
        """Return the box around ``mask`` with ``margin`` voxels, clipped to the volume.

        Raises
        ------
        ValueError
            If the mask is empty or not of the grid's shape.
        """
        if tuple(mask.shape) != grid.shape:
            raise ValueError(f"The mask has shape {tuple(mask.shape)}, the grid {grid.shape}")
        slices = []
        for axis in range(3):
            others = tuple(a for a in range(3) if a != axis)
            hit = mask.any(dim=others[1]).any(dim=others[0]).nonzero()
            if not len(hit):
                raise ValueError("The mask is empty")
            first, last = int(hit[0]), int(hit[-1])
            slices.append(slice(max(0, first - margin), min(grid.shape[axis], last + 1 + margin)))
        return cls(tuple(slices), grid)  # type: ignore[arg-type]

    @property
    def inner(self) -> Grid:
        """The grid of the box."""
        return replace(self.grid, shape=tuple(s.stop - s.start for s in self.slices))  # type: ignore[arg-type]

    def cut(self, x: Tensor) -> Tensor:
        """Return the box of a volume, contiguous."""
        return x[(..., *self.slices)].contiguous()

    def paste(self, x: Tensor) -> Tensor:
        """Return a whole volume that is zero outside the box."""
        out = torch.zeros((*x.shape[:-3], *self.grid.shape), dtype=x.dtype, device=x.device)
        out[(..., *self.slices)] = x
        return out
