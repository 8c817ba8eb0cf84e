"""The dipole convolution: susceptibility to field, for one volume or a batch of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.fourier import (
    crop_to,
    fast_shape,
    frequencies,
    irfft3,
    pad_to,
    rfft3,
)
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.kernels import dipole_kernel


class DipoleOperator:
    """Susceptibility (ppm) to field (ppm) by the dipole convolution; symmetric.

    Parameters
    ----------
    grid : Grid, or sequence of Grid
        Geometry of the volumes. A sequence is that of a batch, whose volumes have the shape
        (B, 1, X, Y, Z): its samples have one shape, and voxels and B0 of their own.
    margin_mm : float, optional
        Zero padding between a volume and its periodic copy. The full extent of the volume, the
        default, is exact for sources anywhere in it; 0 gives nearly the periodic operator.
    fft_shape : sequence of int, optional
        Shape of the transforms, whatever the margin; sources repeat with this period.
    device, dtype
        Of the volumes.

    Attributes
    ----------
    shape, fft_shape : tuple of int
        Of a volume and of the transforms.
    kernel : torch.Tensor, half spectrum
        The dipole's response; (B, 1, X, Y, Z) for a batch.

    Raises
    ------
    ValueError
        If the samples differ in shape.
    """

    def __init__(
        self,
        grid: Grid | Sequence[Grid],
        *,
        margin_mm: float | None = None,
        fft_shape: Sequence[int] | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._batched = not isinstance(grid, Grid)
        self._grids = (grid,) if isinstance(grid, Grid) else tuple(grid)
        shapes = {grid.shape for grid in self._grids}
        if len(shapes) != 1:
            raise ValueError(f"Expected samples of one shape, got {sorted(shapes)}")
        self.shape = shapes.pop()
        margin = list(self.shape)
        if margin_mm is not None:
            finest = [min(grid.voxel_size_mm[axis] for grid in self._grids) for axis in range(3)]
            margin = [math.ceil(margin_mm / voxel) for voxel in finest]
        self.fft_shape = tuple(fft_shape or fast_shape(self.shape, margin))
        self.kernel = self._stacked(
            [dipole_kernel(g, self.fft_shape, device=device, dtype=dtype) for g in self._grids]
        )

    @cached_property
    def frequency(self) -> Tensor:
        """Lengths of the frequencies in 1/mm, shaped as the kernel; never quite 0."""
        lengths = []
        like = self.kernel
        for grid in self._grids:
            x, y, z = frequencies(
                self.fft_shape, grid.voxel_size_mm, device=like.device, dtype=like.dtype
            )
            lengths.append((x.square() + y.square() + z.square() + 1e-8).sqrt_())
        return self._stacked(lengths)

    @cached_property
    def voxel_edge_mm(self) -> Tensor:
        """Edges of cubes as large as the voxels, of as many axes as the kernel."""
        edges = [math.prod(grid.voxel_size_mm) ** (1 / 3) for grid in self._grids]
        return self._stacked([self.kernel.new_full((1, 1, 1), edge) for edge in edges])

    def __call__(self, chi_ppm: Tensor) -> Tensor:
        """Return the field in ppm of ``chi_ppm``, shape (..., X, Y, Z)."""
        return self.filtered(chi_ppm, self.kernel)

    def adjoint(self, field_ppm: Tensor) -> Tensor:
        """Return the adjoint, which is the operator itself (the kernel is real and even)."""
        return self(field_ppm)

    def tikhonov(self, field_ppm: Tensor, regularisation: Tensor | float) -> Tensor:
        r"""Return the closed-form inverse :math:`D/(D^2+\lambda)` of a field."""
        return self.filtered(field_ppm, self.kernel / (self.kernel.square() + regularisation))

    def filtered(self, x: Tensor, response: Tensor) -> Tensor:
        """Return volumes whose half spectra were multiplied by a response."""
        x = x.to(self.kernel.dtype)  # FFTs need their precision whatever a network runs in
        spectrum = self.spectrum(x)
        # in place where nobody needs the spectrum again to go back through it
        product = spectrum * response if torch.is_grad_enabled() else spectrum.mul_(response)
        return crop_to(self.back(product), self.shape)

    def spectrum(self, x: Tensor) -> Tensor:
        """Return the half spectrum of a volume, which is zero-padded first if it has to be."""
        return rfft3(pad_to(x, self.fft_shape))

    def back(self, spectrum: Tensor) -> Tensor:
        """Return the padded volume of a half spectrum."""
        return irfft3(spectrum, self.fft_shape)

    def _stacked(self, parts: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(parts))[:, None] if self._batched else parts[0]
