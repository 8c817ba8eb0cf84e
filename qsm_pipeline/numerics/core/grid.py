"""The voxel grid: shape, voxel size and direction of the main field."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Grid:
    """A voxel grid in the main field.

    Parameters
    ----------
    shape : tuple of int, length 3
        Number of voxels along each axis.
    voxel_size_mm : tuple of float, length 3
        Voxel edge lengths in mm, all positive.
    b0_dir : tuple of float, length 3
        Direction of B0 in voxel axes; normalised to a unit vector here.

    Raises
    ------
    ValueError
        If the shape or voxel size is not positive, or the direction is zero or not finite.
    """

    shape: tuple[int, ...]
    voxel_size_mm: tuple[float, ...] = (1.0, 1.0, 1.0)
    b0_dir: tuple[float, ...] = (0.0, 0.0, 1.0)

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        voxel = tuple(float(v) for v in self.voxel_size_mm)
        b0 = tuple(float(b) for b in self.b0_dir)
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(f"Grid shape must be three positive integers, got {self.shape}")
        if len(voxel) != 3 or not all(math.isfinite(v) and v > 0 for v in voxel):
            raise ValueError(f"Voxel size must be three positive mm, got {self.voxel_size_mm}")
        norm = math.sqrt(sum(b * b for b in b0))
        if len(b0) != 3 or not math.isfinite(norm) or norm == 0:
            raise ValueError(f"B0 direction must be a non-zero 3-vector, got {self.b0_dir}")
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "voxel_size_mm", voxel)
        object.__setattr__(self, "b0_dir", tuple(b / norm for b in b0))

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel in mm^3."""
        return math.prod(self.voxel_size_mm)

    @classmethod
    def from_affine(cls, shape: tuple[int, ...], affine: np.ndarray) -> Grid:
        """Build the grid of a NIfTI volume, with B0 along the scanner's z axis.

        Parameters
        ----------
        shape : tuple of int, length 3
            Shape of the volume.
        affine : numpy.ndarray, shape (4, 4)
            Voxel to scanner RAS+ mm.

        Returns
        -------
        Grid
            ``b0_dir`` is the third row of the unit direction cosines, so scaling by
            anisotropic voxels never tilts it.

        Raises
        ------
        ValueError
            If the affine is not finite, singular or sheared (axes not perpendicular).
        """
        linear = np.asarray(affine, dtype=float)[:3, :3]
        if not np.isfinite(affine).all():
            raise ValueError("The affine has entries that are not finite")
        voxel = np.linalg.norm(linear, axis=0)
        if (voxel <= 0).any():
            raise ValueError(f"The affine has a zero voxel size: {voxel.tolist()}")
        cosines = linear / voxel
        if np.abs(cosines.T @ cosines - np.eye(3)).max() > 1e-2:
            raise ValueError("The affine is sheared: its voxel axes are not perpendicular")
        return cls(tuple(shape[:3]), tuple(voxel), tuple(cosines[2]))
