"""The multigrid cycle of LBV."""

import pytest
import torch

from qsm_pipeline.numerics.background.lbv import LbvParams, _Level, inner_voxels, lbv
from qsm_pipeline.numerics.background.problem import BackgroundProblem
from qsm_pipeline.numerics.grid import Grid


@pytest.mark.parametrize("voxel_size_mm", [(1.0, 1.0, 1.0), (0.8, 1.0, 2.0)])
def test_restriction_is_the_adjoint_of_prolongation(voxel_size_mm):
    level = _Level(torch.ones(19, 24, 17, dtype=torch.float64), voxel_size_mm)
    fine = torch.randn(19, 24, 17, dtype=torch.float64)
    coarse = torch.randn_like(level.restrict(fine))
    left = (level.prolong(coarse, fine.shape) * fine).sum()
    assert torch.allclose(left, (coarse * level.restrict(fine)).sum())


def test_the_cycle_is_symmetric_and_positive():
    inner = torch.rand(16, 20, 18, dtype=torch.float64) < 0.9
    level = _Level(inner.double(), (1.0, 1.2, 1.1))
    a, b = (torch.randn(inner.shape, dtype=torch.float64) * inner for _ in range(2))
    assert torch.allclose((a * level.cycle(b)).sum(), (b * level.cycle(a)).sum())
    assert (a * level.cycle(a)).sum() > 0


def test_a_few_cycles_are_enough():
    shape = (60, 72, 48)
    place = torch.stack(torch.meshgrid(*(torch.arange(n) - n / 2 for n in shape), indexing="ij"))
    mask = (place / torch.tensor([26.0, 32.0, 20.0])[:, None, None, None]).norm(dim=0) < 1
    mask &= ~(place[0].abs() < 3) | (place[1] < 0)
    x, y, z = place / 20
    background = x * y + z * z - x * x + 0.5 * z
    source = torch.exp(-(place.square().sum(0)) / 20)
    problem = BackgroundProblem(background + source, mask, Grid(shape))
    exact = lbv(problem, LbvParams(tolerance=1e-6, max_iterations=200)).local_field_ppm
    quick = lbv(problem, LbvParams(tolerance=1e-9, max_iterations=10)).local_field_ppm
    inside = inner_voxels(mask)
    assert exact[inside].abs().max() > 0.1
    assert (quick - exact)[inside].abs().max() < 1e-3
