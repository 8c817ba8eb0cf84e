"""The field of a head in the scanner: where the head lies, forward model and shim."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from qsm_pipeline.numerics.core.dipole import DipoleOperator
from qsm_pipeline.numerics.core.fourier import (
    crop_to,
    fast_shape,
    irfft3,
    offsets_mm,
    pad_to,
    rfft3,
)
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.simulate.anatomy import Pose
from qsm_pipeline.numerics.simulate.shapes import occupancy
from qsm_pipeline.numerics.simulate.skull import HEAD_BOX_MM
from qsm_pipeline.numerics.simulate.tissues import TISSUES

_PAD_MM = 160.0


@dataclass(frozen=True)
class Placement:
    """A field of view and the larger grid, aligned with it, that holds the whole head.

    Parameters
    ----------
    shape : tuple of int, length 3
        Of the larger grid.
    affine : numpy.ndarray, shape (4, 4)
        Its voxels to scanner mm.
    inside : tuple of slice
        Where the field of view lies in it.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    inside: tuple[slice, slice, slice]

    @property
    def grid(self) -> Grid:
        """Geometry of the larger grid."""
        return Grid.from_affine(self.shape, self.affine)


def around_head(shape: tuple[int, int, int], affine: np.ndarray, pose: Pose) -> Placement:
    """Return the smallest grid that holds both the field of view and the whole head.

    The field inside the field of view has sources outside it, above all neck and face. Air
    surrounds the head on all sides of the larger grid, so the field of susceptibility relative to
    air needs nothing from beyond.
    """
    corners = torch.tensor(list(itertools.product(*HEAD_BOX_MM)), dtype=torch.float64)
    scanner = pose.to_scanner(corners).numpy()
    inverse = np.linalg.inv(affine)
    voxels = scanner @ inverse[:3, :3].T + inverse[:3, 3]
    low = np.minimum(np.floor(voxels.min(0)), 0).astype(int)
    high = np.maximum(np.ceil(voxels.max(0)) + 1, shape).astype(int)
    moved = np.array(affine, dtype=float)
    moved[:3, 3] = affine[:3, :3] @ low + affine[:3, 3]
    inside = tuple(slice(-a, n - a) for a, n in zip(low.tolist(), shape, strict=True))
    return Placement(tuple((high - low).tolist()), moved, inside)  # type: ignore[arg-type]


def field_of_head(chi_ppm: Tensor, brain: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Return the field of everything and that of the brain alone.

    Parameters
    ----------
    chi_ppm : torch.Tensor, shape ``grid.shape``
        Susceptibility, with air all around.
    brain : torch.Tensor, shape ``grid.shape``, bool
        What counts as local.
    grid : Grid
        Geometry.

    Returns
    -------
    total_ppm, local_ppm : torch.Tensor
        Their difference is harmonic in the brain.
    """
    local_chi = chi_ppm * brain
    local = DipoleOperator(grid, margin_mm=_PAD_MM, device=chi_ppm.device)(local_chi)
    outer_chi = chi_ppm - local_chi - TISSUES["air"].chi_ppm
    return local + field_of_dipoles(outer_chi, grid), local


def field_of_dipoles(chi_ppm: Tensor, grid: Grid) -> Tensor:
    """Return the field of dipoles at the centres of voxels, harmonic wherever there is none.

    The sampled spectrum of `DipoleOperator` jumps at the highest frequencies when B0 is tilted
    against the voxels, so sharp borders of air ring through the whole head. Sampled in space, as
    here, the kernel does not jump.

    Parameters
    ----------
    chi_ppm : torch.Tensor, shape ``grid.shape``
        Susceptibility.
    grid : Grid
        Geometry.

    Returns
    -------
    torch.Tensor, shape ``grid.shape``
        Field in ppm.
    """
    shape = fast_shape(grid.shape, tuple(round(_PAD_MM / v) for v in grid.voxel_size_mm))
    x, y, z = offsets_mm(shape, grid.voxel_size_mm, device=chi_ppm.device)
    squared = x.square() + y.square() + z.square()
    along = grid.b0_dir[0] * x + grid.b0_dir[1] * y + grid.b0_dir[2] * z
    squared[0, 0, 0] = 1.0
    kernel = (3 * along.square() / squared - 1) / (4 * math.pi * squared**1.5)
    kernel *= math.prod(grid.voxel_size_mm)
    # a uniform ball has no field inside, also where voxels are not cubes
    longest = max(grid.voxel_size_mm)
    ball = occupancy(squared.sqrt() - 8 * longest, longest)
    kernel[0, 0, 0] = 0.0
    kernel[0, 0, 0] = -(kernel * ball).sum()
    spectrum = rfft3(pad_to(chi_ppm, shape)) * rfft3(kernel.float()).real
    return crop_to(irfft3(spectrum, shape), grid.shape)


def scanner_position_mm(
    shape: tuple[int, int, int], affine: np.ndarray, device: torch.device | str = "cpu"
) -> Tensor:
    """Return the scanner coordinates of every voxel, shape (3, X, Y, Z)."""
    matrix = torch.as_tensor(np.asarray(affine), dtype=torch.float32, device=device)
    axes = [torch.arange(n, dtype=torch.float32, device=device) for n in shape]
    i, j, k = axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :]
    return torch.stack(
        [matrix[r, 0] * i + matrix[r, 1] * j + matrix[r, 2] * k + matrix[r, 3] for r in range(3)]
    )


def shim_coils(position_mm: Tensor) -> tuple[Tensor, ...]:
    """Return the nine harmonic fields up to second order, each shaped like one coordinate."""
    x, y, z = position_mm / 100
    one = torch.ones_like(x)
    return (one, x, y, z, x * y, x * z, y * z, x * x - y * y, 2 * z * z - x * x - y * y)


def second_order_shim(field_ppm: Tensor, mask: Tensor, position_mm: Tensor) -> Tensor:
    """Return the field of the shim coils that best cancels ``field_ppm`` in a mask.

    Parameters
    ----------
    field_ppm : torch.Tensor, shape (X, Y, Z)
        The field to be shimmed.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where it is to be small.
    position_mm : torch.Tensor, shape (3, X, Y, Z)
        Scanner coordinates.

    Returns
    -------
    torch.Tensor, shape (X, Y, Z)
        To be added; harmonic, as the field of any coil outside the head must be.
    """
    coils = shim_coils(position_mm)
    # in double precision, so that the rounding of threaded sums does not reach the result
    columns = torch.stack([coil[mask] for coil in coils], dim=1).double()
    currents = torch.linalg.solve(columns.T @ columns, columns.T @ field_ppm[mask].double())
    return -sum(c * coil for c, coil in zip(currents.float(), coils, strict=True))
