"""The dipole in both directions for a batch whose samples have geometries of their own."""

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


class BatchDipole:
    """Dipole convolution of a batch, zero-padded, over the spatial axes only.

    Parameters
    ----------
    grids : sequence of Grid
        Voxel size and B0 direction of each sample; all of one shape.
    margin_mm : float, optional
        Zero padding. By default that of the full extent, which is exact for any source in the
        volume.
    fft_shape : sequence of int, optional
        Shape of the transforms, whatever the margin; sources repeat with this period.
    device
        Of the volumes.

    Raises
    ------
    ValueError
        If the samples differ in shape.
    """

    def __init__(
        self,
        grids: Sequence[Grid],
        *,
        margin_mm: float | None = None,
        fft_shape: Sequence[int] | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        shapes = {grid.shape for grid in grids}
        if len(shapes) != 1:
            raise ValueError(f"Expected samples of one shape, got {sorted(shapes)}")
        self.shape = shapes.pop()
        margin = list(self.shape)
        if margin_mm is not None:
            finest = [min(grid.voxel_size_mm[axis] for grid in grids) for axis in range(3)]
            margin = [math.ceil(margin_mm / voxel) for voxel in finest]
        self.fft_shape = tuple(fft_shape or fast_shape(self.shape, margin))
        self._grids = tuple(grids)
        kernels = [dipole_kernel(grid, self.fft_shape, device=device) for grid in grids]
        self.kernel = torch.stack(kernels)[:, None]

    @cached_property
    def frequency(self) -> Tensor:
        """Lengths of the frequencies in 1/mm, shape (B, 1, X, Y, Z); never quite 0."""
        lengths = []
        for grid in self._grids:
            k = frequencies(
                self.fft_shape, grid.voxel_size_mm, device=self.kernel.device, dtype=torch.float32
            )
            lengths.append(sum((axis.square() for axis in k), torch.tensor(1e-8)).sqrt())
        return torch.stack(lengths)[:, None]

    @cached_property
    def voxel_edge_mm(self) -> Tensor:
        """Edges of cubes as large as the voxels, shape (B, 1, 1, 1, 1)."""
        edges = [math.prod(grid.voxel_size_mm) ** (1 / 3) for grid in self._grids]
        return torch.tensor(edges, device=self.kernel.device)[:, None, None, None, None]

    def field(self, chi_ppm: Tensor) -> Tensor:
        """Return the field in ppm of susceptibility in ppm, both of shape (B, 1, X, Y, Z)."""
        return self.filtered(chi_ppm, self.kernel)

    def tikhonov(self, field_ppm: Tensor, regularisation: Tensor | float) -> Tensor:
        r"""Return the closed-form inverse :math:`D/(D^2+\lambda)`, (B, 1, X, Y, Z)."""
        inverse = self.kernel / (self.kernel.square() + regularisation)
        return self.filtered(field_ppm, inverse)

    def filtered(self, x: Tensor, response: Tensor) -> Tensor:
        """Return volumes whose half spectra were multiplied by a response."""
        # FFTs need single precision whatever the network runs in
        spectrum = rfft3(pad_to(x.float(), self.fft_shape)) * response
        return crop_to(irfft3(spectrum, self.fft_shape), self.shape)
