"""A mask from the magnitude alone, and the check that every mask must pass."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from qsm_pipeline.numerics.core.connected import largest_parts
from qsm_pipeline.numerics.core.depth import depth_mm
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.params.masking import RobustMaskParams

SMALLEST_BRAIN_ML = 200.0
"""A mask below this is an error where the volume could hold a whole brain."""


def robust_mask(
    magnitude: np.ndarray, grid: Grid, params: RobustMaskParams | None = None
) -> np.ndarray:
    """Return the largest connected bright region.

    Parameters
    ----------
    magnitude : numpy.ndarray, shape (X, Y, Z)
        Magnitude in any unit.
    grid : Grid
        Geometry.
    params : RobustMaskParams, optional
        Parameters.

    Returns
    -------
    numpy.ndarray, shape (X, Y, Z), bool
        Signal well above the noise, opened, its largest part with holes filled. It holds the
        brain but, without a skull-stripping step, other tissue that touches it too.

    References
    ----------
    Eckstein et al., robust mask of MriResearchTools; doi:10.1002/mrm.26963.
    """
    opening_mm = (params or RobustMaskParams()).opening_mm
    finite = np.nan_to_num(magnitude)
    bright = finite[finite > 0]
    if not bright.size:
        return np.zeros(magnitude.shape, bool)
    low, high = np.percentile(bright, (80, 99))
    strong = bright[(bright >= low) & (bright <= high)]
    noise = bright[bright < 0.1 * strong.mean()]
    threshold = max(5 * noise.std() if noise.size else 0.0, strong.mean() / 5)
    mask = finite > threshold
    # Distances instead of structuring elements: exact balls in mm on any voxel size.
    core = largest_parts(depth_mm(mask, grid) > opening_mm)
    opened = (depth_mm(~core, grid) <= opening_mm) & mask
    return ndimage.binary_fill_holes(opened)


def check_mask(mask: np.ndarray, grid: Grid) -> None:
    """Refuse a mask that cannot be a brain.

    Parameters
    ----------
    mask : numpy.ndarray, shape (X, Y, Z), bool
        Mask.
    grid : Grid
        Geometry; a volume too small for a whole brain may have a small mask.

    Raises
    ------
    ValueError
        If the mask is empty, far too small or fills the whole volume; with the numbers.
    """
    voxels = int(mask.sum())
    if not voxels:
        raise ValueError("the mask is empty")
    ml = grid.voxel_volume_mm3 / 1000
    extent = min(n * v for n, v in zip(grid.shape, grid.voxel_size_mm, strict=True))
    if extent > 120 and voxels * ml < SMALLEST_BRAIN_ML:
        raise ValueError(
            f"the mask holds {voxels * ml:.0f} ml, expected at least {SMALLEST_BRAIN_ML:.0f} ml "
            "in a volume that can hold a whole head"
        )
    if voxels < 0.02 * mask.size:
        raise ValueError(
            f"the mask holds {voxels} voxels, {100 * voxels / mask.size:.2f} % of the volume, "
            "expected at least 2 %"
        )
    if extent > 120 and voxels > 0.95 * mask.size:
        raise ValueError(
            f"the mask fills {100 * voxels / mask.size:.1f} % of the volume, expected a brain"
        )
