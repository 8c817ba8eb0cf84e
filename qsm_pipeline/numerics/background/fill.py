"""Values for voxels whose field is not known, from those around them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from qsm_pipeline.numerics.background.lbv import dirichlet_residue
from qsm_pipeline.numerics.background.problem import BackgroundProblem
from qsm_pipeline.numerics.core.bounding_box import BoundingBox
from qsm_pipeline.numerics.core.voxels import any_of
from qsm_pipeline.numerics.params.background import LbvParams


def fill_unknown(problem: BackgroundProblem) -> Tensor:
    """Return the field with a harmonic function in the voxels of the mask that have no weight.

    It joins the values around them. Together they are the field of sources on the border of what
    is not known, which no method takes for sources outside the mask.

    Parameters
    ----------
    problem : BackgroundProblem
        Total field; nothing is filled without weights.

    Returns
    -------
    torch.Tensor, shape (X, Y, Z)
        Total field in ppm.
    """
    field = problem.total_field_ppm
    if problem.weights is None:
        return field
    unknown = problem.mask & (problem.weights <= 0)
    if not any_of(unknown):
        return field
    box = BoundingBox.of(problem.mask, problem.grid)
    gap = box.cut(unknown)
    for axis in range(3):  # the border of the volume holds boundary values
        gap.narrow(axis, 0, 1).zero_()
        gap.narrow(axis, gap.shape[axis] - 1, 1).zero_()
    params = LbvParams(screening_mm=math.inf)
    residue = dirichlet_residue(box.cut(field), gap, problem.grid.voxel_size_mm, params)
    return field - box.paste(torch.where(gap, residue, 0.0))
