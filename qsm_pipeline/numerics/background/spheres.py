"""Spherical mean values on a zero-padded box, shared by the SHARP family."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from qsm_pipeline.numerics.background.problem import BackgroundProblem
from qsm_pipeline.numerics.core.bounding_box import BoundingBox
from qsm_pipeline.numerics.core.fourier import crop_to, fast_shape, irfft3, pad_to, rfft3
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.kernels import smv_kernel


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


def require(mask: Tensor, radius_mm: float) -> None:
    """Refuse an eroded mask that is empty.

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


@dataclass(frozen=True)
class ErodedBox:
    """A problem cut to its mask, and what a ball of one radius leaves of the mask.

    Parameters
    ----------
    box : BoundingBox
        Where the other volumes lie.
    field : torch.Tensor
        Total field in ppm, zero outside the mask.
    balls : SphericalMean
        Convolution on the box.
    kernel : torch.Tensor
        Transform of the ball.
    eroded : torch.Tensor, bool
        Where the whole ball lies inside the mask; not empty.
    """

    box: BoundingBox
    field: Tensor
    balls: SphericalMean
    kernel: Tensor
    eroded: Tensor

    @classmethod
    def of(cls, problem: BackgroundProblem, radius_mm: float) -> ErodedBox:
        """Cut a problem to the box of its mask and erode the mask by a ball.

        Raises
        ------
        ValueError
            If the mask or what is left of it is empty.
        """
        box = BoundingBox.of(problem.mask, problem.grid)
        mask = box.cut(problem.mask)
        field = box.cut(problem.total_field_ppm) * mask
        balls = SphericalMean(box.inner, radius_mm, field)
        kernel = balls.kernel(radius_mm)
        eroded = balls.erode(balls.transform(mask.to(field)), kernel)
        require(eroded, radius_mm)
        return cls(box, field, balls, kernel, eroded)
