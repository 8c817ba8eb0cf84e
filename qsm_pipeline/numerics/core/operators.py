"""Linear operators that the inverse problems are made of."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.fourier import crop_to, fast_shape, irfft3, pad_to, rfft3
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.kernels import dipole_kernel


class DipoleOperator:
    """Susceptibility (ppm) to field (ppm) by the dipole convolution; symmetric.

    Parameters
    ----------
    grid : Grid
        Geometry of the volumes.
    pad_mm : float, optional
        Zero padding between a volume and its periodic copy. The full extent of the volume is
        exact for sources anywhere in it; 0 gives the periodic operator.
    device, dtype
        Of the volumes.
    """

    def __init__(
        self,
        grid: Grid,
        *,
        pad_mm: float | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.grid = grid
        margin = grid.shape
        if pad_mm is not None:
            margin = tuple(round(pad_mm / v) for v in grid.voxel_size_mm)
        self.fft_shape = fast_shape(grid.shape, margin)
        self.kernel = dipole_kernel(grid, self.fft_shape, device=device, dtype=dtype)

    def __call__(self, chi_ppm: Tensor) -> Tensor:
        """Return the field in ppm of ``chi_ppm``, shape (..., X, Y, Z)."""
        spectrum = rfft3(pad_to(chi_ppm, self.fft_shape))
        return crop_to(irfft3(spectrum * self.kernel, self.fft_shape), self.grid.shape)

    def adjoint(self, field_ppm: Tensor) -> Tensor:
        """Return the adjoint, which is the operator itself (the kernel is real and even)."""
        return self(field_ppm)


def gradient(x: Tensor, voxel_size_mm: Sequence[float]) -> Tensor:
    """Return forward differences in 1/mm, shape (3, ..., X, Y, Z); 0 at the far border."""
    out = torch.zeros((3, *x.shape), dtype=x.dtype, device=x.device)
    for axis, voxel in enumerate(voxel_size_mm):
        dim = axis - 3
        n = x.shape[dim]
        out[axis].narrow(dim, 0, n - 1).copy_(torch.diff(x, dim=dim) / voxel)
    return out


def gradient_adjoint(g: Tensor, voxel_size_mm: Sequence[float]) -> Tensor:
    """Return the adjoint of :func:`gradient` (minus the divergence), shape (..., X, Y, Z)."""
    out = torch.zeros_like(g[0])
    for axis, voxel in enumerate(voxel_size_mm):
        dim = axis - 3
        n = g.shape[dim]
        inner = g[axis].narrow(dim, 0, n - 1) / voxel
        out.narrow(dim, 1, n - 1).add_(inner)
        out.narrow(dim, 0, n - 1).sub_(inner)
    return out
