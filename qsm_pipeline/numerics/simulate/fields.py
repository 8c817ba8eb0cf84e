"""The field of a head in the scanner: forward model, shim and smooth scanner fields."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from qsm_pipeline.numerics.grid import Grid
from qsm_pipeline.numerics.operators import DipoleOperator
from qsm_pipeline.numerics.simulate.anatomy import Anatomy
from qsm_pipeline.numerics.simulate.skull import HEAD_BOX_MM
from qsm_pipeline.numerics.simulate.tissues import TISSUES

_PAD_MM = 120.0


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


def around_head(shape: tuple[int, int, int], affine: np.ndarray, anatomy: Anatomy) -> Placement:
    """Return the smallest grid that holds both the field of view and the whole head.

    The field inside the field of view has sources outside it, above all neck and face. Air
    surrounds the head on all sides of the larger grid, so the field of susceptibility relative to
    air needs nothing from beyond.
    """
    corners = torch.tensor(list(itertools.product(*HEAD_BOX_MM)), dtype=torch.float64)
    scanner = anatomy.pose.to_scanner(corners).numpy()
    inverse = np.linalg.inv(affine)
    voxels = scanner @ inverse[:3, :3].T + inverse[:3, 3]
    low = np.minimum(np.floor(voxels.min(0)), 0).astype(int)
    high = np.maximum(np.ceil(voxels.max(0)) + 1, shape).astype(int)
    moved = np.array(affine, dtype=float)
    moved[:3, 3] = affine[:3, :3] @ low + affine[:3, 3]
    inside = tuple(slice(-a, n - a) for a, n in zip(low.tolist(), shape, strict=True))
    return Placement(tuple((high - low).tolist()), moved, inside)  # type: ignore[arg-type]


def field_of_head(chi_ppm: Tensor, brain: Tensor, placement: Placement) -> tuple[Tensor, Tensor]:
    """Return the field of everything and that of the brain alone, in the field of view.

    Parameters
    ----------
    chi_ppm : torch.Tensor, shape ``placement.shape``
        Susceptibility, with air all around.
    brain : torch.Tensor, shape ``placement.shape``, bool
        What counts as local.
    placement : Placement
        The grid.

    Returns
    -------
    total_ppm, local_ppm : torch.Tensor
        Their difference is harmonic in the brain.
    """
    dipole = DipoleOperator(placement.grid, pad_mm=_PAD_MM, device=chi_ppm.device)
    total = dipole(chi_ppm - TISSUES["air"].chi_ppm)[placement.inside].contiguous()
    local = dipole(chi_ppm * brain)[placement.inside].contiguous()
    return total, local


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


def second_order_shim(field_ppm: Tensor, mask: Tensor, position_mm: Tensor) -> Tensor:
    """Return the field of the shim coils up to second order that best cancels ``field_ppm``.

    It is harmonic, as the field of any coil outside the head must be.

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
        To be added.
    """
    x, y, z = position_mm / 100
    one = torch.ones_like(x)
    coils = (one, x, y, z, x * y, x * z, y * z, x * x - y * y, 2 * z * z - x * x - y * y)
    columns = torch.stack([coil[mask] for coil in coils], dim=1).double()
    normal = columns.T @ columns
    currents = torch.linalg.solve(normal, columns.T @ field_ppm[mask].double())
    return -sum(c * coil for c, coil in zip(currents.float(), coils, strict=True))  # type: ignore[return-value]
