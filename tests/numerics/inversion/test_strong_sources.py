"""Strong sources are told from the tissue around them."""

import pytest
import torch
from grids import radius_mm

from qsm_pipeline.numerics.core.dipole import DipoleOperator
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.inversion.strong_sources import strong_sources
from qsm_pipeline.numerics.inversion.wiener import wiener

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
    assert float(found.chi_ppm[ball].mean()) == pytest.approx(-1.5, rel=0.15)
    assert (found.chi_ppm[tissue > 0] == 0).all()
    weak = DipoleOperator(grid)(tissue) * mask
    assert (strong_sources(InversionProblem(weak, mask, grid), 0.3).field_ppm == 0).all()


@pytest.mark.parametrize("chi_ppm", [-2.0, 0.6])
def test_wiener_maps_strong_sources_and_knows_their_error(chi_ppm):
    grid = GRIDS["oblique"]
    mask = radius_mm(grid) < 15
    tissue = 0.1 * (radius_mm(grid, (6.0, 3.0, 0.0)) < 4).float()
    ball = radius_mm(grid, (-4.0, 2.0, 1.0)) < 4
    noise = 2e-3 * torch.randn(grid.shape, generator=torch.Generator().manual_seed(0))
    true = tissue + chi_ppm * ball
    problem = InversionProblem((DipoleOperator(grid)(true) + noise) * mask, mask, grid)
    made = wiener(problem)
    off = (made.chi_ppm - true)[mask].mean()
    error = (made.chi_ppm - true - off).abs()
    assert float(made.chi_ppm[ball].mean() - off) == pytest.approx(chi_ppm, rel=0.15)
    near = mask & (radius_mm(grid, (-4.0, 2.0, 1.0)) < 6.5)
    assert float((error <= made.uncertainty_ppm)[near].float().mean()) > 0.75
    tissue_alone = wiener(
        InversionProblem((DipoleOperator(grid)(tissue) + noise) * mask, mask, grid)
    )
    far = mask & (radius_mm(grid, (-4.0, 2.0, 1.0)) > 8)
    rest = error[far].square().mean().sqrt()
    alone = float((tissue_alone.chi_ppm - tissue)[far].std())
    assert float(rest) < 1.2 * alone + 0.01 * abs(chi_ppm)
