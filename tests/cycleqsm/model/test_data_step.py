"""The learned closed-form step: what it follows, what it leaves alone, and that it can learn."""

import pytest
import torch
from grids import GRIDS

from qsm_pipeline.cycleqsm.model.data_step import DataStep
from qsm_pipeline.numerics.core.dipole import DipoleOperator
from qsm_pipeline.numerics.core.grid import Grid

VOXELS = (1.0, 1.0, 1.0)


def _noise(value):
    return torch.full((1, 1, 1, 1, 1), value)


def _share_found(cycles, grid, noise, step=None, knee=0.0):
    """Return how much of a wave across B0 the step finds in its field, sampled periodically."""
    dipole = DipoleOperator([grid], fft_shape=grid.shape)
    position = torch.arange(grid.shape[0]) / grid.shape[0]
    wave = torch.cos(2 * torch.pi * cycles * position)[:, None, None].expand(grid.shape)
    wave = wave[None, None]
    with torch.no_grad():
        beyond = (knee / dipole.frequency.clamp(min=0.01)) ** 3
        found = (step or DataStep())(dipole(wave), _noise(noise), beyond, dipole)
    return float((found * wave).sum() / wave.square().sum())


@pytest.mark.parametrize("noise", [0.05, 0.2])
def test_long_waves_are_found_and_short_ones_are_not(noise):
    shares = [_share_found(cycles, Grid((64, 8, 8), VOXELS), noise) for cycles in (2, 8, 16, 28)]
    assert shares[0] > 0.9
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] < (0.9 if noise < 0.1 else 0.5)


def test_noise_makes_it_careful():
    shares = [_share_found(8, Grid((64, 8, 8), VOXELS), n) for n in (0.02, 0.1, 0.5)]
    assert shares[0] > 0.99 > shares[1] > shares[2]


def test_a_coloured_error_is_followed_less_where_it_is_strong():
    grid = Grid((100, 8, 8), VOXELS)
    white = [_share_found(cycles, grid, 0.02) for cycles in (1, 5, 20)]
    shares = [_share_found(cycles, grid, 0.02, knee=0.3) for cycles in (1, 5, 20)]
    assert shares[0] < 0.1
    assert white[0] > 0.99
    assert shares[0] < shares[1] < shares[2]
    assert shares[2] == pytest.approx(white[2], abs=0.02)


def test_large_voxels_are_as_noisy_as_many_small_ones():
    # the same wave in mm: twice the edge has eight times the noise per frequency at equal noise
    step = DataStep()
    fine = _share_found(8, Grid((64, 8, 8), VOXELS), 0.2, step)
    coarse = _share_found(8, Grid((32, 8, 8), (2.0, 2.0, 2.0)), 0.2, step)
    assert coarse < fine
    with torch.no_grad():
        step.voxel_power.zero_()
    fine, coarse = (_share_found(8, Grid((n, 8, 8), (64 / n,) * 3), 0.2, step) for n in (64, 32))
    assert coarse == pytest.approx(fine, rel=1e-4)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_is_linear_in_the_residual_and_each_sample_has_its_own_geometry(grid):
    other = Grid(grid.shape, tuple(2 * v for v in grid.voxel_size_mm), (0.6, 0.0, 0.8))
    random = torch.Generator().manual_seed(0)
    residual = torch.randn((2, 1, *grid.shape), generator=random)
    step = DataStep()
    noise = torch.tensor([0.1, 0.3])[:, None, None, None, None]
    colour = 10 * torch.rand(DipoleOperator([grid, other]).kernel.shape, generator=random)
    with torch.no_grad():
        both = step(residual, noise, colour, DipoleOperator([grid, other]))
        for number, one in enumerate((grid, other)):
            sample = slice(number, number + 1)
            alone = step(
                3 * residual[sample], noise[sample], colour[sample], DipoleOperator([one])
            )
            assert (alone - 3 * both[sample]).norm() < 1e-5 * alone.norm()


def test_every_number_is_learned():
    grid = GRIDS["oblique"]
    dipole = DipoleOperator([grid])
    residual = torch.randn((1, 1, *grid.shape), generator=torch.Generator().manual_seed(0))
    step = DataStep()
    step(residual, _noise(0.2), torch.zeros(()), dipole).square().mean().backward()
    gradients = [float(parameter.grad) for parameter in step.parameters()]
    assert len(gradients) == 5
    assert all(torch.isfinite(torch.tensor(gradients)))
    assert all(gradient != 0 for gradient in gradients)
