"""Strong sources are told from the tissue around them."""

import pytest
from grids import radius_mm

from qsm_pipeline.numerics.core.dipole import DipoleOperator
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.inversion.strong_sources import strong_sources

GRIDS = {
    "non-cubic": Grid((40, 48, 44)),
    "oblique": Grid((44, 48, 32), (1.0, 1.0, 1.4), (0.3, -0.2, 0.93)),
}


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_a_strong_source_is_taken_out_and_tissue_stays(grid):
    mask = radius_mm(grid) < 15
    tissue = 0.1 * (radius_mm(grid, (6.0, 3.0, 0.0)) < 4)
    ball = radius_mm(grid, (-4.0, 2.0, 1.0)) < 4
    field = DipoleOperator(grid)(tissue - 1.5 * ball) * mask
    problem = InversionProblem(field, mask, grid, noise_ppm=5e-4, residual_background=True)
    found = strong_sources(problem, 0.3)
    assert float(found.chi_ppm[ball].mean()) == pytest.approx(0.3 - 1.5, rel=0.15)
    assert (found.chi_ppm[tissue > 0] == 0).all()
    weak = DipoleOperator(grid)(tissue) * mask
    assert (strong_sources(InversionProblem(weak, mask, grid), 0.3).field_ppm == 0).all()
