"""Strong sources in the brain: the field that background removal must not take from them."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor
from torch.nn.functional import max_pool3d

from qsm_pipeline.numerics.core.bounding_box import BoundingBox
from qsm_pipeline.numerics.core.dipole import DipoleOperator
from qsm_pipeline.numerics.core.fourier import crop_to, fast_shape, irfft3, pad_to, rfft3
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.solvers import conjugate_gradient

STRONG_PPM = 0.2
"""Veins and nuclei stay below in a map this crude."""
_TRUNCATED = 0.2
_SPREAD_PPM, _TISSUE_FIELD_PPM = 1.0, 0.02
"""Typical strong source, and typical field of all other tissue."""
_MARGIN_MM = 24.0


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
        Beyond :data:`STRONG_PPM` on either side.
    """
    box = BoundingBox.of(known, grid)
    dipole = _periodic(box, local_field_ppm)
    inverse = dipole.kernel.sign() / dipole.kernel.abs().clamp(min=_TRUNCATED)
    field = pad_to(box.cut(local_field_ppm * known), dipole.fft_shape)
    chi = irfft3(rfft3(field) * inverse, dipole.fft_shape)
    return box.paste(crop_to(chi, box.inner.shape)).abs().gt(STRONG_PPM) & known


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
    support = (max_pool3d(within.to(weights)[None], 3, 1, 1)[0] > 0) & mask
    box = BoundingBox.of(mask, grid)
    dipole = _periodic(box, local_field_ppm)
    sources, precision, field = (
        pad_to(box.cut(x.to(local_field_ppm)), dipole.fft_shape)
        for x in (support, (weights * mask).square(), local_field_ppm)
    )
    prior = (_TISSUE_FIELD_PPM / _SPREAD_PPM) ** 2
    chi = conjugate_gradient(
        lambda x: sources * dipole(precision * dipole(sources * x)) + prior * x,
        sources * dipole(precision * field),
        max_iterations=30,
    )
    return box.paste(crop_to(dipole(sources * chi), box.inner.shape)) * mask


def _periodic(box: BoundingBox, like: Tensor) -> DipoleOperator:
    margin = [round(_MARGIN_MM / voxel) for voxel in box.inner.voxel_size_mm]
    shape = fast_shape(box.inner.shape, margin)
    padded = replace(box.inner, shape=shape)
    return DipoleOperator(padded, fft_shape=shape, device=like.device, dtype=like.dtype)
