"""How well a susceptibility map explains the field that it was made from."""

from __future__ import annotations

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.bounding_box import BoundingBox
from qsm_pipeline.numerics.core.dipole import DipoleOperator
from qsm_pipeline.numerics.core.grid import Grid


def predicted_field(chi_ppm: Tensor, mask: Tensor, grid: Grid) -> Tensor:
    """Return the field of the susceptibility inside a mask, by the dipole convolution.

    Parameters
    ----------
    chi_ppm : torch.Tensor, shape (X, Y, Z)
        Susceptibility before a reference is subtracted: a constant added inside the mask alone
        has a field of its own.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where the map is valid.
    grid : Grid
        Geometry.

    Returns
    -------
    torch.Tensor, shape (X, Y, Z)
        Field in ppm, zero outside the mask.

    Raises
    ------
    ValueError
        If the mask is empty or not of the grid's shape.

    References
    ----------
    Marques & Bowtell 2005, doi:10.1002/cmr.b.20034.
    """
    box = BoundingBox.of(mask, grid)
    inside = box.cut(mask)
    dipole = DipoleOperator(box.inner, device=chi_ppm.device, dtype=chi_ppm.dtype)
    return box.paste(torch.where(inside, dipole(box.cut(chi_ppm) * inside), 0.0))
