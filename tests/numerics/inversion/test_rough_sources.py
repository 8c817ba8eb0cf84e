"""A rough map tells outer and strong sources from the rest of a field."""

import pytest
import torch
from grids import radius_mm

from qsm_pipeline.numerics.core.dipole import DipoleOperator
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.inversion.rough_sources import STRONG_PPM, rough_sources

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
    found = rough_sources(problem).outer_field_ppm
    assert (found[~mask] == 0).all()
    assert (found - outer)[mask].norm() < 0.6 * outer[mask].norm()
    left = problem.local_field_ppm - found
    assert (left - inner)[mask].norm() < 0.6 * (problem.local_field_ppm - inner)[mask].norm()


def test_a_field_that_needed_no_removal_is_left_alone():
    grid = GRIDS["oblique"]
    mask = radius_mm(grid) < 15
    problem = InversionProblem(torch.randn(grid.shape) * mask, mask, grid)
    assert (rough_sources(problem).outer_field_ppm == 0).all()


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_a_strong_source_is_taken_out_and_tissue_stays(grid):
    mask = radius_mm(grid) < 15
    tissue = 0.1 * (radius_mm(grid, (6.0, 3.0, 0.0)) < 4)
    ball = radius_mm(grid, (-4.0, 2.0, 1.0)) < 4
    field = DipoleOperator(grid)(tissue - 1.5 * ball) * mask
    problem = InversionProblem(field, mask, grid, noise_ppm=5e-4, residual_background=True)
    found = rough_sources(problem)
    assert float(found.strong_ppm[ball].mean()) == pytest.approx(STRONG_PPM - 1.5, rel=0.15)
    assert (found.strong_ppm[tissue > 0] == 0).all()
    weak = DipoleOperator(grid)(tissue) * mask
    assert (rough_sources(InversionProblem(weak, mask, grid)).strong_field_ppm == 0).all()
