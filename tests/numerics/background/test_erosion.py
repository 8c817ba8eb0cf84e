"""Which methods keep the mask: two passes rest on it."""

import pytest
import torch
from grids import radius_mm

from qsm_pipeline.numerics.background.problem import BackgroundProblem
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.steps.methods import methods as methods_of

METHODS = methods_of("background")


@pytest.mark.parametrize("name", METHODS)
def test_two_passes_are_allowed_with_methods_that_do_not_erode(name):
    grid = Grid((40, 44, 30), (1.0, 1.0, 1.3))
    mask = (radius_mm(grid) < 16) & ~(radius_mm(grid, (4.0, 0.0, 0.0)) < 2)
    field = torch.where(mask, 0.01 * radius_mm(grid), 0.0)
    method = METHODS[name]
    local = method.function(BackgroundProblem(field, mask, grid), method.params())
    kept = float(local.mask.sum()) / float(mask.sum())
    assert (kept == 1.0) == (not method.erodes)
