"""The padded box around the mask with its dipole kernel, shared by all inversions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.bounding_box import BoundingBox
from qsm_pipeline.numerics.core.fourier import (
    crop_to,
    fast_shape,
    frequencies,
    irfft3,
    pad_to,
    rfft3,
)
from qsm_pipeline.numerics.core.kernels import dipole_kernel, laplacian_kernel
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
    mask, field_ppm, dipole : torch.Tensor
        Padded mask and field, and the kernel on the half spectrum.
    """

    def __init__(self, problem: InversionProblem, margin_mm: float) -> None:
        if not margin_mm >= 0:
            raise ValueError(f"Expected margin_mm >= 0, got {margin_mm}")
        self._box = BoundingBox.of(problem.mask, problem.grid)
        grid = self._box.inner
        self.grid = grid
        self.inverse_voxel = tuple(1 / v for v in grid.voxel_size_mm)
        self.shape = fast_shape(grid.shape, [math.ceil(margin_mm / v) for v in grid.voxel_size_mm])
        self.mask = self.pad(problem.mask)
        self.field_ppm = self.pad(problem.local_field_ppm) * self.mask
        self.dipole = dipole_kernel(
            grid, self.shape, device=self.field_ppm.device, dtype=self.field_ppm.dtype
        )

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

    def laplacian(self) -> Tensor:
        """Return the negative Laplacian's kernel."""
        like = self.field_ppm
        return -laplacian_kernel(self.grid, self.shape, device=like.device, dtype=like.dtype)

    def colour(self, error: FieldError) -> Tensor | None:
        """Return the coloured part of the error's density over its white part; None if white."""
        if error.knee_per_mm == 0:
            return None
        return error.coloured_density(self.frequency()).div_(error.n0_ppm**2)

    def frequency(self) -> Tensor:
        """Return the frequencies in 1/mm, half spectrum."""
        like = self.field_ppm
        axes = frequencies(
            self.shape, self.grid.voxel_size_mm, device=like.device, dtype=like.dtype
        )
        return (axes[0].square() + axes[1].square() + axes[2].square()).sqrt_()

    def forward(self, x: Tensor) -> Tensor:
        """Return the spectrum of a padded volume."""
        return rfft3(x)

    def back(self, spectrum: Tensor) -> Tensor:
        """Return the padded volume of a spectrum."""
        return irfft3(spectrum, self.shape)


def cyclic_gradient(x: Tensor, inverse_voxel: tuple[float, ...], out: Tensor) -> Tensor:
    """Write periodic forward differences in 1/mm into ``out``, shape (3, X, Y, Z)."""
    for axis, inverse in enumerate(inverse_voxel):
        n = x.shape[axis]
        head, tail = x.narrow(axis, 0, n - 1), x.narrow(axis, 1, n - 1)
        torch.sub(tail, head, out=out[axis].narrow(axis, 0, n - 1))
        torch.sub(
            x.narrow(axis, 0, 1), x.narrow(axis, n - 1, 1), out=out[axis].narrow(axis, n - 1, 1)
        )
        out[axis].mul_(inverse)
    return out


def cyclic_gradient_adjoint(g: Tensor, inverse_voxel: tuple[float, ...]) -> Tensor:
    """Return the adjoint of :func:`cyclic_gradient`, shape (X, Y, Z)."""
    total = torch.zeros_like(g[0])
    for axis, inverse in enumerate(inverse_voxel):
        n = g.shape[axis + 1]
        part = g[axis]
        total.narrow(axis, 1, n - 1).add_(part.narrow(axis, 0, n - 1), alpha=inverse)
        total.narrow(axis, 0, 1).add_(part.narrow(axis, n - 1, 1), alpha=inverse)
        total.sub_(part, alpha=inverse)
    return total


def vector_length(vectors: Tensor) -> Tensor:
    """Return the Euclidean length of vectors along the first axis, at least 1e-12."""
    squared = vectors[0].square()
    for component in vectors[1:]:
        squared.addcmul_(component, component)
    return squared.sqrt_().clamp_(min=1e-12)


def gradient_length(x: Tensor, inverse_voxel: tuple[float, ...]) -> Tensor:
    """Return the length of the periodic forward differences, shape (X, Y, Z)."""
    return vector_length(cyclic_gradient(x, inverse_voxel, x.new_empty((3, *x.shape))))
