"""V-SHARP: SHARP with a ball that shrinks towards the edge of the mask."""

from __future__ import annotations

import numpy as np
import torch

from qsm_pipeline.numerics.background.problem import BackgroundProblem, LocalField
from qsm_pipeline.numerics.background.sharp import restore
from qsm_pipeline.numerics.background.spheres import SphericalMean, require
from qsm_pipeline.numerics.core.bounding_box import BoundingBox
from qsm_pipeline.numerics.params.background import VSharpParams


def vsharp(problem: BackgroundProblem, params: VSharpParams | None = None) -> LocalField:
    """Remove the background with the largest ball that fits at each voxel.

    Parameters
    ----------
    problem : BackgroundProblem
        Total field.
    params : VSharpParams, optional
        Parameters.

    Returns
    -------
    LocalField
        On the mask eroded by the smallest radius.

    Raises
    ------
    ValueError
        If the eroded mask is empty.

    References
    ----------
    Li, Wu & Liu 2011, doi:10.1016/j.neuroimage.2010.11.088; Wu et al. 2012,
    doi:10.1002/mrm.23000.
    """
    params = params or VSharpParams()
    box = BoundingBox.of(problem.mask, problem.grid)
    mask = box.cut(problem.mask)
    field = box.cut(problem.total_field_ppm) * mask
    radii = _radii(params, problem.grid.voxel_size_mm)
    balls = SphericalMean(box.inner, radii[0], field)
    mask_spectrum, field_spectrum = balls.transform(mask.to(field)), balls.transform(field)
    largest = None
    done = torch.zeros_like(mask)
    high = torch.zeros_like(field)
    for radius in radii:
        kernel = balls.kernel(radius)
        eroded = balls.erode(mask_spectrum, kernel)
        if not eroded.any():
            continue
        if largest is None:
            largest = kernel
        new = eroded & ~done
        high = torch.where(new, field - balls.back(field_spectrum * kernel), high)
        done |= new
    require(done, radii[-1])
    assert largest is not None
    local = restore(high, balls, largest, params.threshold) * done
    return LocalField(box.paste(local), box.paste(done))


def _radii(params: VSharpParams, voxel_size_mm: tuple[float, ...]) -> list[float]:
    """Return the radii in mm, largest first."""
    smallest = max(params.min_radius_mm, *voxel_size_mm)
    step = max(params.step_mm, min(voxel_size_mm))
    radii = np.arange(max(params.max_radius_mm, smallest), smallest - 1e-6, -step).tolist()
    if radii[-1] > smallest + 1e-6:
        radii.append(smallest)
    return radii
