"""Spherical mean values on a zero-padded box, shared by the SHARP family."""

from __future__ import annotations

import math

from torch import Tensor

from qsm_pipeline.numerics.fourier import crop_to, fast_shape, irfft3, pad_to, rfft3
from qsm_pipeline.numerics.grid import Grid
from qsm_pipeline.numerics.kernels import smv_kernel


class SphericalMean:
    """Convolution with balls on the volume of ``grid``, padded by the largest radius."""

    def __init__(self, grid: Grid, largest_radius_mm: float, like: Tensor) -> None:
        margin = [math.ceil(largest_radius_mm / v) for v in grid.voxel_size_mm]
        self.grid = grid
        self.shape = fast_shape(grid.shape, margin)
        self._like = like

    def kernel(self, radius_mm: float) -> Tensor:
        """Return the transform of the ball."""
        like = self._like
        return smv_kernel(self.grid, radius_mm, self.shape, device=like.device, dtype=like.dtype)

    def transform(self, x: Tensor) -> Tensor:
        """Return the spectrum of the padded volume."""
        return rfft3(pad_to(x, self.shape))

    def back(self, spectrum: Tensor) -> Tensor:
        """Return the volume of a spectrum."""
        return crop_to(irfft3(spectrum, self.shape), self.grid.shape)

    def erode(self, mask_spectrum: Tensor, kernel: Tensor) -> Tensor:
        """Return where the whole ball lies inside the mask (never true at the volume's border)."""
        return self.back(mask_spectrum * kernel) > 0.999


def require(mask: Tensor, radius_mm: float) -> Tensor:
    """Return ``mask`` unless it is empty.

    Raises
    ------
    ValueError
        If no ball of the radius fits into the mask it was eroded from.
    """
    if not mask.any():
        raise ValueError(
            f"No voxel of the mask is left after eroding it by {radius_mm:g} mm; "
            "use a smaller radius or a method that keeps the mask"
        )
    return mask
