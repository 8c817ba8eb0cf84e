"""CycleQSM as a method: the error of the field that it goes by."""

from dataclasses import replace

import pytest
import torch
from grids import radius_mm

from qsm_pipeline.cycleqsm import method
from qsm_pipeline.cycleqsm.params import CycleQsmParams
from qsm_pipeline.numerics.core.dipole import DipoleOperator
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.field_error import FieldError
from qsm_pipeline.numerics.inversion.problem import InversionProblem

WHITE, COLOURED = FieldError(0.001), FieldError(0.001, 0.3, 3.0)


@pytest.fixture
def problem():
    grid = Grid((40, 44, 36), (2.0, 2.0, 2.5), (0.0, 0.2, 0.98))
    mask = radius_mm(grid) < 36
    texture = 0.02 * torch.randn(grid.shape, generator=torch.Generator().manual_seed(0))
    chi = torch.where(radius_mm(grid) < 7, 1.0, texture) * mask
    return InversionProblem(DipoleOperator(grid)(chi) * mask, mask, grid)


@pytest.fixture
def used(monkeypatch):
    """Return the errors by which fields are prepared, in their order."""
    errors = []
    prepare = method.prepare_sample
    monkeypatch.setattr(
        method, "prepare_sample", lambda *a, **k: errors.append(k["error"]) or prepare(*a, **k)
    )
    return errors


@pytest.mark.parametrize("whole", [WHITE, COLOURED])
def test_of_the_field_with_and_without_strong_sources_the_less_coloured_error_counts(
    problem, whole, used, monkeypatch
):
    """Strong sources leak into the cone, and what is left of them there is error of its own."""
    rest = COLOURED if whole is WHITE else WHITE
    vars(problem)["spectra"] = replace(problem.spectra, error=whole)
    monkeypatch.setattr(method, "estimate_field_error", lambda *_: rest)
    method.cycleqsm(problem, CycleQsmParams(uncertainty=False))
    assert used == [whole, WHITE]


def test_small_strong_sources_cost_no_second_start(used):
    """They are taken from the first; so is a field whose error is known."""
    grid = Grid((40, 44, 36), (2.0, 2.0, 2.5), (0.0, 0.2, 0.98))
    mask = radius_mm(grid) < 36
    texture = torch.rand(grid.shape, generator=torch.Generator().manual_seed(0)) - 0.5
    texture *= 0.3 * mask
    small, large = (torch.where(radius_mm(grid) < r, 1.0, texture) for r in (2.6, 9.0))
    dipole = DipoleOperator(grid)
    for chi, error, starts in ((small, None, 1), (large, None, 2), (large, WHITE, 1)):
        used.clear()
        problem = InversionProblem(dipole(chi) * mask, mask, grid, field_error=error)
        found = method.cycleqsm(problem, CycleQsmParams(uncertainty=False)).chi_ppm
        assert len(used) == starts
        core = radius_mm(grid) < 2
        assert float(found[core].mean()) == pytest.approx(1, abs=0.25)
        rest = mask & (radius_mm(grid) > 12)
        assert float((found - chi)[rest].norm() / chi[rest].norm()) < 0.8
