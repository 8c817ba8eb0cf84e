"""A part of the brain that a mask leaves out is seen, however large the voxels are."""

import numpy as np
import pytest
import torch
from grids import radius_mm

from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.quality.coverage import tissue_beside_percent

LIMIT_PERCENT = 3.5


@pytest.mark.parametrize(
    "voxel_size_mm",
    [(1.5, 1.5, 1.5), (2.8, 2.8, 2.8), (3.5, 3.5, 3.5), (1.5, 1.5, 4.0), (5, 2, 2)],
)
@pytest.mark.parametrize("axis", range(3))
def test_a_flat_cut_is_seen_and_a_whole_brain_is_not_blamed(voxel_size_mm, axis):
    shape = tuple(round(160 / size) for size in voxel_size_mm)
    grid = Grid.from_affine(shape, np.diag([*voxel_size_mm, 1.0]))
    brain = radius_mm(grid) < 55
    magnitude = brain + 0.1 * torch.ones(shape)
    quality = torch.ones(shape)
    assert tissue_beside_percent(magnitude, quality, brain, grid) < 0.1
    cut = brain.clone()
    cut.movedim(axis, 0)[: shape[axis] // 3] = False
    assert tissue_beside_percent(magnitude, quality, cut, grid) > 2 * LIMIT_PERCENT
