"""Background removal leaves strong sources their whole field."""

import pytest
import torch
from grids import radius_mm

from qsm_pipeline.numerics.background.strong import field_of_sources, strong_voxels
from qsm_pipeline.numerics.core.dipole import DipoleOperator
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.steps.local_field import remove_background
from qsm_pipeline.steps.total_field import TotalField

GRID = Grid((44, 48, 40), (3.0, 3.0, 3.6), (0.2, -0.1, 0.97))
MASK = radius_mm(GRID) < 56
PLACE = (-9.0, 6.0, 4.0)


def _field(chi_ppm, radius):
    ball = radius_mm(GRID, PLACE) < radius
    outside = 9.0 * (radius_mm(GRID, (0.0, 66.0, 0.0)) < 9)
    dipole = DipoleOperator(GRID)
    return ball, dipole(chi_ppm * ball.float()), dipole(outside.float())


@pytest.mark.parametrize(("chi_ppm", "radius"), [(0.6, 15), (-2.0, 7), (1.0, 11)])
@pytest.mark.parametrize("echoes", [1, 4])
@pytest.mark.parametrize("method", ["lbv-pdf", "vsharp"])
def test_the_field_of_a_strong_source_stays(chi_ppm, radius, echoes, method):
    ball, inner, outer = _field(chi_ppm, radius)
    total = TotalField((inner + outer) * MASK, MASK, GRID, MASK.float(), 1e-3, echoes=echoes)
    found = remove_background(total, MASK, method=method)
    deep = found.mask & (radius_mm(GRID) < 44)
    far = deep & (radius_mm(GRID, PLACE) > radius + 6)
    for where in (deep, far):
        x, y = found.local_field_ppm[where], inner[where]
        assert float((x * y).sum() / y.square().sum()) == pytest.approx(1, abs=0.12)
    assert strong_voxels(found.local_field_ppm, deep, GRID)[ball].float().mean() > 0.5


def test_tissue_is_not_strong_and_no_sources_have_no_field():
    _, inner, _ = _field(0.15, 9)
    assert not strong_voxels(inner, MASK, GRID).any()
    field = field_of_sources(inner, MASK, MASK.float(), torch.zeros_like(MASK), GRID)
    assert (field == 0).all()
