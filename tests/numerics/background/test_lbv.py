"""The multigrid cycle and the screening of LBV."""

import math

import pytest
import torch

from qsm_pipeline.numerics.background.lbv import _Level, inner_voxels, lbv
from qsm_pipeline.numerics.background.problem import BackgroundProblem
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.params.background import LbvParams


@pytest.mark.parametrize("voxel_size_mm", [(1.0, 1.0, 1.0), (0.8, 1.0, 2.0)])
def test_restriction_is_the_adjoint_of_prolongation(voxel_size_mm):
    level = _Level(torch.ones(19, 24, 17, dtype=torch.float64), voxel_size_mm)
    fine = torch.randn(19, 24, 17, dtype=torch.float64)
    coarse = torch.randn_like(level.restrict(fine))
    left = (level.prolong(coarse, fine.shape) * fine).sum()
    assert torch.allclose(left, (coarse * level.restrict(fine)).sum())


def test_the_cycle_is_symmetric_and_positive():
    inner = torch.rand(16, 20, 18, dtype=torch.float64) < 0.9
    level = _Level(inner.double(), (1.0, 1.2, 1.1), 0.01)
    a, b = (torch.randn(inner.shape, dtype=torch.float64) * inner for _ in range(2))
    assert torch.allclose((a * level.cycle(b)).sum(), (b * level.cycle(a)).sum())
    assert (a * level.cycle(a)).sum() > 0


@pytest.mark.parametrize("screening_mm", [12.0, math.inf])
def test_a_few_cycles_are_enough(screening_mm):
    shape = (60, 72, 48)
    place = torch.stack(torch.meshgrid(*(torch.arange(n) - n / 2 for n in shape), indexing="ij"))
    mask = (place / torch.tensor([26.0, 32.0, 20.0])[:, None, None, None]).norm(dim=0) < 1
    mask &= ~(place[0].abs() < 3) | (place[1] < 0)
    x, y, z = place / 20
    background = x * y + z * z - x * x + 0.5 * z
    source = torch.exp(-(place.square().sum(0)) / 20)
    problem = BackgroundProblem(background + source, mask, Grid(shape))
    exact = lbv(problem, LbvParams(screening_mm, 1e-6, 200)).local_field_ppm
    quick = lbv(problem, LbvParams(screening_mm, 1e-9, 10)).local_field_ppm
    inside = inner_voxels(mask)
    assert exact[inside].abs().max() > 0.1
    assert (quick - exact)[inside].abs().max() < 1e-3


@pytest.mark.parametrize("voxel_size_mm", [(1.0, 1.0, 1.0), (0.8, 1.0, 1.7)])
def test_screening_damps_a_wave_by_its_length(voxel_size_mm):
    shape = (23, 29, 17)
    wave, squared = torch.ones(shape, dtype=torch.float64), 0.0
    for axis, (n, voxel) in enumerate(zip(shape, voxel_size_mm, strict=True)):
        k = (axis + 1) * math.pi / (n - 1)  # nodes on the surface of the volume
        along = torch.sin(k * torch.arange(n, dtype=torch.float64))
        wave = wave * along.reshape([-1 if a == axis else 1 for a in range(3)])
        squared += (2 - 2 * math.cos(k)) / voxel**2
    harmonic = torch.arange(shape[0], dtype=torch.float64)[:, None, None] * torch.ones(shape)
    mask = torch.ones(shape, dtype=torch.bool)
    problem = BackgroundProblem(wave + harmonic, mask, Grid(shape, voxel_size_mm))
    found = lbv(problem, LbvParams(screening_mm=9.0, tolerance=1e-9)).local_field_ppm
    assert torch.allclose(found, wave * squared / (squared + 9.0**-2), atol=1e-6)
    plain = lbv(problem, LbvParams(screening_mm=math.inf, tolerance=1e-9)).local_field_ppm
    assert torch.allclose(plain, wave, atol=1e-6)


def test_screening_keeps_errors_of_the_surface_from_the_depth():
    grid = Grid((60, 56, 36), (0.9, 1.0, 1.6))
    place = torch.meshgrid(
        *(
            (torch.arange(n) - n / 2) * v
            for n, v in zip(grid.shape, grid.voxel_size_mm, strict=True)
        ),
        indexing="ij",
    )
    radius = sum(x.square() for x in place).sqrt()
    mask = radius < 25
    surface = mask & ~inner_voxels(mask)
    wrong = 0.05 * torch.sign(place[2]) * surface  # a local field there, taken for background
    problem = BackgroundProblem(wrong, mask, grid)
    deep = radius < 12
    plain, screened = (
        lbv(problem, LbvParams(screening_mm=mm)).local_field_ppm[deep].square().mean().sqrt()
        for mm in (math.inf, 12.0)
    )
    assert plain > 0.01
    assert screened < 0.75 * plain
