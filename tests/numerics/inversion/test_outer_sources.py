"""Sources outside the mask explain what background removal has left, and little else."""

import pytest
import torch
from grids import radius_mm

from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.operators import DipoleOperator
from qsm_pipeline.numerics.inversion.outer_sources import outer_source_field
from qsm_pipeline.numerics.inversion.problem import InversionProblem

GRIDS = {
    "non-cubic": Grid((40, 48, 44)),
    "oblique": Grid((44, 48, 32), (1.0, 1.0, 1.4), (0.3, -0.2, 0.93)),
}


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_field_from_outside_is_found_and_that_from_inside_stays(grid):
    mask = radius_mm(grid) < 15
    dipole = DipoleOperator(grid)
    inner = dipole(0.2 * (radius_mm(grid, (3.0, 2.0, 0.0)) < 4)) * mask
    outer = dipole(0.5 * (radius_mm(grid, (0.0, 18.0, 3.0)) < 2.5)) * mask
    problem = InversionProblem(inner + outer, mask, grid, noise_ppm=5e-4, residual_background=True)
    found = outer_source_field(problem)
    assert (found[~mask] == 0).all()
    assert (found - outer)[mask].norm() < 0.6 * outer[mask].norm()
    left = problem.local_field_ppm - found
    assert (left - inner)[mask].norm() < 0.6 * (problem.local_field_ppm - inner)[mask].norm()


def test_a_field_that_needed_no_removal_is_left_alone():
    grid = GRIDS["oblique"]
    mask = radius_mm(grid) < 15
    problem = InversionProblem(torch.randn(grid.shape) * mask, mask, grid)
    assert (outer_source_field(problem) == 0).all()
