"""Strong sources in the brain: the field that background removal must not take from them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from qsm_pipeline.numerics.background.lbv import inner_voxels
from qsm_pipeline.numerics.core.bounding_box import BoundingBox
from qsm_pipeline.numerics.core.connected import parts_in_boxes, parts_with
from qsm_pipeline.numerics.core.dipole import DipoleOperator
from qsm_pipeline.numerics.core.fourier import crop_to, fast_shape, irfft3, pad_to, rfft3
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.solvers import conjugate_gradient
from qsm_pipeline.numerics.core.voxels import grown

STRONG_PPM = 0.2
"""Veins and nuclei stay below in a map this crude."""
_TRUNCATED = 0.2
_SPREAD_PPM, _TISSUE_FIELD_PPM = 1.0, 0.02
"""Typical strong source, and typical field of all other tissue."""
_MARGIN_MM = 24.0
_REACH_MM = 30.0
"""The field is fitted as far around sources; such as are near to each other are fitted at once."""


def strong_voxels(local_field_ppm: Tensor, known: Tensor, grid: Grid) -> Tensor:
    """Find voxels of strong sources by a division at each frequency.

    Parameters
    ----------
    local_field_ppm : torch.Tensor, shape (X, Y, Z)
        Local field.
    known : torch.Tensor, shape (X, Y, Z), bool
        Where it is known, and away from the surface of the brain, where the rest of the background
        looks like sources.
    grid : Grid
        Geometry.

    Returns
    -------
    torch.Tensor, shape (X, Y, Z), bool
        Beyond :data:`STRONG_PPM` on either side, in parts at least three voxels wide: background
        removal takes nothing of what is as thin as a vein.
    """
    box = BoundingBox.of(known, grid)
    dipole = _periodic(box, local_field_ppm)
    inverse = dipole.kernel.sign() / dipole.kernel.abs().clamp(min=_TRUNCATED)
    inside = box.cut(known)
    field = pad_to(box.cut(local_field_ppm) * inside, dipole.fft_shape)
    chi = irfft3(rfft3(field).mul_(inverse), dipole.fft_shape)
    strong = (crop_to(chi, inside.shape).abs() > STRONG_PPM) & inside
    return box.paste(parts_with(strong, inner_voxels(strong)))


def field_of_sources(
    local_field_ppm: Tensor, mask: Tensor, weights: Tensor, within: Tensor, grid: Grid
) -> Tensor:
    """Fit sources in a few voxels to a local field and return their field.

    Parameters
    ----------
    local_field_ppm : torch.Tensor, shape (X, Y, Z)
        Local field.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where it is valid.
    weights : torch.Tensor, shape (X, Y, Z)
        Reliability in [0, 1].
    within : torch.Tensor, shape (X, Y, Z), bool
        Where sources may be. The voxels around them are added, which share them in part.
    grid : Grid
        Geometry.

    Returns
    -------
    torch.Tensor, shape (X, Y, Z)
        In ppm, zero outside the mask.
    """
    support = grown(within, (1, 1, 1)) & mask
    reach = [round(_REACH_MM / voxel) for voxel in grid.voxel_size_mm]
    precision = (weights * mask).square()
    chi = torch.zeros_like(local_field_ppm)
    for place, part in parts_in_boxes(grown(support, reach)):
        shape = part.shape
        near = replace(grid, shape=(shape[0], shape[1], shape[2]))
        chi[place] += _fitted(
            local_field_ppm[place], precision[place], support[place] & part, near
        )
    box = BoundingBox.of(mask, grid)
    dipole = _periodic(box, local_field_ppm)
    field = dipole(pad_to(box.cut(chi), dipole.fft_shape))
    return box.paste(crop_to(field, box.inner.shape)) * mask


def _fitted(field_ppm: Tensor, precision: Tensor, support: Tensor, grid: Grid) -> Tensor:
    """Return the most likely sources within a support, shape (X, Y, Z)."""
    shape = fast_shape(grid.shape, (0, 0, 0))
    padded = replace(grid, shape=shape)
    dipole = DipoleOperator(padded, fft_shape=shape, device=field_ppm.device)
    field, known, inside = (
        pad_to(x.to(field_ppm), shape) for x in (field_ppm, precision, support)
    )
    prior = (_TISSUE_FIELD_PPM / _SPREAD_PPM) ** 2
    chi = conjugate_gradient(
        lambda x: inside * dipole(known * dipole(inside * x)) + prior * x,
        inside * dipole(known * field),
        max_iterations=30,
    )
    return crop_to(inside * chi, grid.shape)


def _periodic(box: BoundingBox, like: Tensor) -> DipoleOperator:
    margin = [round(_MARGIN_MM / voxel) for voxel in box.inner.voxel_size_mm]
    shape = fast_shape(box.inner.shape, margin)
    padded = replace(box.inner, shape=shape)
    return DipoleOperator(padded, fft_shape=shape, device=like.device, dtype=like.dtype)
