"""The errors that training simulates: how strong, how coloured, and where."""

import pytest
import torch
from grids import GRIDS

from qsm_pipeline.cycleqsm.data.errors import KINDS, coloured_noise, error_spectrum, rim
from qsm_pipeline.cycleqsm.data.samples import Block
from qsm_pipeline.cycleqsm.data.textures import smooth_noise
from qsm_pipeline.numerics.core.grid import Grid


def _random(seed):
    return torch.Generator().manual_seed(seed)


def _block(grid, seed=0):
    axes = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in grid.shape), indexing="ij")
    mask = sum(a.square() for a in axes) < 0.8
    chi = 0.03 * smooth_noise(grid.shape, 5.0, _random(seed)) * mask
    signal = (1 + 0.3 * smooth_noise(grid.shape, 6.0, _random(seed + 1))).clamp(min=0.1)
    return Block(chi, mask, grid, signal)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_every_kind_is_finite_follows_the_noise_and_differs_by_draw(kind, grid):
    block = _block(grid)
    draw = KINDS[kind][1]
    errors = [draw(block, n0, _random(seed)) for n0, seed in ((0.001, 0), (0.002, 0), (0.001, 1))]
    assert all(x.isfinite().all() and x[block.mask].std() > 0 for x in errors)
    assert torch.allclose(errors[1], 2 * errors[0], rtol=1e-4, atol=1e-9)
    assert not torch.allclose(errors[2], errors[0])


@pytest.mark.parametrize("voxel", [(1.0, 1.0, 1.0), (0.8, 1.0, 1.6)])
@pytest.mark.parametrize(("knee", "power"), [(0.15, 3.0), (0.4, 2.5)])
def test_the_spectrum_of_coloured_noise_is_the_one_asked_for(voxel, knee, power):
    grid = Grid((64, 60, 56), voxel)
    noise = torch.randn(grid.shape, generator=_random(0))
    noise = 0.003 * (noise + coloured_noise(grid, knee, power, _random(1)))
    found = error_spectrum(noise, torch.ones(grid.shape, dtype=torch.bool), grid)
    assert found.n0_ppm == pytest.approx(0.003, rel=0.1)
    for frequency in (0.06, 0.12, 0.25):
        ratio = found.density(torch.tensor(frequency)).sqrt() / 0.003
        assert float(ratio) == pytest.approx((1 + (knee / frequency) ** power) ** 0.5, rel=0.25)


def test_white_noise_has_no_colour_and_nothing_has_no_spectrum():
    grid = Grid((48, 48, 48))
    mask = torch.ones(grid.shape, dtype=torch.bool)
    white = 0.002 * torch.randn(grid.shape, generator=_random(0))
    found = error_spectrum(white, mask, grid)
    assert found.n0_ppm == pytest.approx(0.002, rel=0.05)
    assert found.knee_per_mm < 0.03
    assert error_spectrum(0 * white, mask, grid) is None


def test_the_rim_is_worse_than_the_middle():
    grid = Grid((48, 48, 48))
    block = _block(grid)
    axes = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in grid.shape), indexing="ij")
    deep = sum(a.square() for a in axes) < 0.2
    shell = block.mask & (sum(a.square() for a in axes) > 0.65)
    ratios = [
        float(x[shell].std() / x[deep].std())
        for x in (rim(block, 1.0, _random(s)) for s in range(6))
    ]
    assert sum(ratios) / 6 > 1.5
