"""Fit a mask to where the phase is reliable: at its rim, or throughout."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from qsm_pipeline.numerics.core.bounding_box import box_slices
from qsm_pipeline.numerics.core.connected import check_in_one_part, largest_parts
from qsm_pipeline.numerics.core.depth import distance_mm
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.params.masking import (
    FieldRegionParams,
    RefinementParams,
    TwoPassParams,
)

SMALLEST_KEPT = 0.5
"""Less than this share of a mask left by the refinement is an error, not a result."""


def refine_mask(
    mask: np.ndarray, quality: np.ndarray, grid: Grid, params: RefinementParams | None = None
) -> np.ndarray:
    """Move the rim of a mask to where the phase becomes reliable.

    The mask is first widened a little, since brain extraction cuts into the cortex in places;
    then everything unreliable that can be reached from outside is taken away again. Unreliable
    voxels inside, such as veins and bleedings, stay.

    Parameters
    ----------
    mask : numpy.ndarray, shape (X, Y, Z), bool
        Brain.
    quality : numpy.ndarray, shape (X, Y, Z)
        From `qsm_pipeline.numerics.phase.quality.phase_quality`, 0 to 1, also outside the mask.
        Noise has about 0.01, brain about 0.9.
    grid : Grid
        Geometry.
    params : RefinementParams, optional
        Parameters.

    Returns
    -------
    numpy.ndarray, shape (X, Y, Z), bool
        One connected part; it has no holes that the widened mask did not have.

    Raises
    ------
    ValueError
        If less than :data:`SMALLEST_KEPT` of the mask is left, or the mask falls into large
        parts; with the numbers.

    References
    ----------
    QSM consensus 2024, doi:10.1002/mrm.30006; Hagberg et al. 2022, doi:10.1002/mrm.29368.
    """
    params = params or RefinementParams()
    refined = np.zeros_like(mask)
    box = _box(mask, grid, params.grow_mm)
    if box is not None:
        poor = quality[box] < params.threshold
        refined[box] = _refined(mask[box], poor, grid.voxel_size_mm, params)
    kept = float((refined & mask).sum()) / max(1, int(mask.sum()))
    if kept < SMALLEST_KEPT:
        raise ValueError(
            f"the phase is unreliable in so much of the rim that only {100 * kept:.0f} % of the "
            f"mask would be left, expected at least {100 * SMALLEST_KEPT:.0f} %"
        )
    return refined


def _refined(
    mask: np.ndarray, poor: np.ndarray, voxel_mm: Sequence[float], params: RefinementParams
) -> np.ndarray:
    step_mm = [min(v, params.grow_mm) if params.grow_mm else v for v in voxel_mm]
    wide = distance_mm(~mask, step_mm) <= params.grow_mm
    unreliable = wide & poor & (distance_mm(mask, voxel_mm) <= params.depth_mm)
    reached = ndimage.binary_propagation(~wide, mask=~wide | unreliable)
    left = wide & ~reached
    check_in_one_part(left)
    return ndimage.binary_fill_holes(largest_parts(left)) & wide


def _box(mask: np.ndarray, grid: Grid, margin_mm: float) -> tuple[slice, ...] | None:
    """Return the box of what lies so close to a mask, with what is next to that."""
    return box_slices(mask, [2 + math.floor(margin_mm / v) for v in grid.voxel_size_mm])


def measured_region(
    mask: np.ndarray, quality: np.ndarray, grid: Grid, params: FieldRegionParams | None = None
) -> np.ndarray:
    """Return a mask with what lies close around it and has reliable phase too.

    Background removal tells inner from outer sources worst at the surface of where the field is
    known. Cerebrospinal fluid and meninges carry that surface away from the brain; fat, whose
    field is shifted chemically, lies beyond the inner table of the skull, farther than the margin.

    Parameters
    ----------
    mask : numpy.ndarray, shape (X, Y, Z), bool
        Brain.
    quality : numpy.ndarray, shape (X, Y, Z)
        See :func:`refine_mask`.
    grid : Grid
        Geometry.
    params : FieldRegionParams, optional
        Parameters.

    Returns
    -------
    numpy.ndarray, shape (X, Y, Z), bool
        The whole mask and what hangs together with it.
    """
    params = params or FieldRegionParams()
    region = mask.copy()
    box = _box(mask, grid, params.margin_mm)
    if box is not None:
        near = distance_mm(~mask[box], grid.voxel_size_mm) <= params.margin_mm
        good = mask[box] | (near & (quality[box] >= params.threshold))
        region[box] = ndimage.binary_propagation(mask[box], mask=good)
    return region


def reliable_part(
    mask: np.ndarray, quality: np.ndarray, params: TwoPassParams | None = None
) -> np.ndarray:
    """Return the part of a mask with good phase everywhere, holes included.

    Parameters
    ----------
    mask : numpy.ndarray, shape (X, Y, Z), bool
        Brain.
    quality : numpy.ndarray, shape (X, Y, Z)
        See :func:`refine_mask`.
    params : TwoPassParams, optional
        Parameters.

    Returns
    -------
    numpy.ndarray, shape (X, Y, Z), bool
        The largest connected part, for the first of two passes.

    Raises
    ------
    ValueError
        If less than half of the mask is reliable; with the numbers.

    References
    ----------
    Stewart et al. 2022, doi:10.1002/mrm.29048.
    """
    part = largest_parts(mask & (quality >= (params or TwoPassParams()).threshold))
    share = float(part.sum()) / max(1, int(mask.sum()))
    if share < 0.5:
        raise ValueError(
            f"only {100 * share:.0f} % of the mask has reliable phase, expected at least 50 % "
            "for two passes"
        )
    return part
