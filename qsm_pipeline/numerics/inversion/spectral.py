"""The padded box around the mask with its dipole kernel, shared by all inversions."""

from __future__ import annotations

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.bounding_box import BoundingBox
from qsm_pipeline.numerics.core.dipole import DipoleOperator
from qsm_pipeline.numerics.core.fourier import crop_to, pad_to
from qsm_pipeline.numerics.core.kernels import laplacian_kernel
from qsm_pipeline.numerics.field_error import FieldError
from qsm_pipeline.numerics.inversion.problem import InversionProblem


class SpectralBox:
    """A problem cut to the box around its mask and padded to a fast size.

    Parameters
    ----------
    problem : InversionProblem
        What to invert.
    margin_mm : float
        Padding between the mask and its periodic copy.

    Attributes
    ----------
    shape : tuple of int
        Padded shape.
    inverse_voxel : tuple of float
        Inverse voxel size in 1/mm.
    mask, field_ppm : torch.Tensor
        Padded mask and field.
    dipole : DipoleOperator
        Of the box.
    """

    def __init__(self, problem: InversionProblem, margin_mm: float) -> None:
        if not margin_mm >= 0:
            raise ValueError(f"Expected margin_mm >= 0, got {margin_mm}")
        self._box = BoundingBox.of(problem.mask, problem.grid)
        grid = self._box.inner
        self.grid = grid
        self.inverse_voxel = tuple(1 / v for v in grid.voxel_size_mm)
        like = problem.local_field_ppm
        self.dipole = DipoleOperator(
            grid, margin_mm=margin_mm, device=like.device, dtype=like.dtype
        )
        self.shape = self.dipole.fft_shape
        self.mask = self.pad(problem.mask)
        self.field_ppm = self.pad(problem.local_field_ppm) * self.mask

    def pad(self, x: Tensor) -> Tensor:
        """Cut a volume to the box and zero-pad it."""
        return pad_to(self._box.cut(x), self.shape)

    def unpad(self, chi_ppm: Tensor) -> Tensor:
        """Return the susceptibility on the whole grid, zero outside the mask."""
        return self._box.paste(crop_to(chi_ppm * self.mask, self.grid.shape))

    def weights(self, problem: InversionProblem) -> Tensor:
        """Return the data weights, the mask itself where none were given."""
        mask = self.mask.to(self.field_ppm)
        return mask if problem.weights is None else self.pad(problem.weights) * mask

    def discount(self, problem: InversionProblem, outside: float) -> Tensor:
        """Return 1 in the mask; outside, less than that if there may be sources there."""
        return torch.where(self.mask, 1.0, outside if problem.residual_background else 1.0).to(
            self.field_ppm
        )

    def field(self, chi_ppm: Tensor) -> Tensor:
        """Return the field in ppm of a padded map, padded too."""
        return self.dipole.back(self.dipole.spectrum(chi_ppm) * self.dipole.kernel)

    def laplacian(self) -> Tensor:
        """Return the negative Laplacian's kernel."""
        like = self.field_ppm
        return -laplacian_kernel(self.grid, self.shape, device=like.device, dtype=like.dtype)

    def colour(self, error: FieldError) -> Tensor | None:
        """Return the coloured part of the error's density over its white part; None if white."""
        if error.knee_per_mm == 0:
            return None
        return error.colour(self.dipole.frequency)
