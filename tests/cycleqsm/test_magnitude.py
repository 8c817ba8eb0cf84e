"""The magnitude as the networks see it: no unit, no coil, contrasts as they are."""

import pytest
import torch
from grids import GRIDS

from qsm_pipeline.cycleqsm.magnitude import magnitude_contrast
from qsm_pipeline.numerics.grid import Grid

BIG = Grid((80, 72, 40), (1.0, 1.1, 2.0), (0.1, 0.2, 0.97))


def _distance_mm(grid):
    axes = [
        (torch.arange(n) - (n - 1) / 2) * v
        for n, v in zip(grid.shape, grid.voxel_size_mm, strict=True)
    ]
    return sum(a.square() for a in torch.meshgrid(*axes, indexing="ij")).sqrt()


def test_a_small_bright_ball_stands_out_by_its_contrast():
    distance = _distance_mm(BIG)
    mask = (distance < 38).float()
    contrast = magnitude_contrast(500 * (1 + 0.3 * (distance < 4)), mask, BIG)
    assert 0.24 < contrast[distance < 4].mean() < 0.31
    assert contrast[(distance > 25) & (distance < 38)].abs().max() < 0.01  # up to the surface
    assert (contrast[mask == 0] == 0).all()


def test_unit_and_coil_do_not_matter():
    distance = _distance_mm(BIG)
    mask = (distance < 38).float()
    magnitude = 1 + 0.3 * (distance < 4) - 0.2 * ((distance > 12) & (distance < 16))
    coil = torch.exp(torch.linspace(-0.4, 0.4, 80))[:, None, None]
    plain = magnitude_contrast(magnitude, mask, BIG)
    assert torch.allclose(magnitude_contrast(7e4 * magnitude, mask, BIG), plain, atol=1e-5)
    with_coil = magnitude_contrast(magnitude * coil, mask, BIG)
    inner = distance < 25  # at the surface the neighbourhood lies on one side
    assert (with_coil - plain)[inner].norm() < 0.2 * plain[inner].norm()


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_whatever_the_magnitude_the_contrast_is_bounded(grid):
    mask = (_distance_mm(grid) < 10).float()
    noise = torch.randn(grid.shape, generator=torch.Generator().manual_seed(0))
    for magnitude in (noise.exp() * 1e6, 1e-6 * noise.square(), 0 * noise, mask):
        contrast = magnitude_contrast(magnitude, mask, grid)
        assert contrast.shape == grid.shape
        assert contrast.isfinite().all()
        assert contrast.abs().max() <= 1
    assert not magnitude_contrast(0 * noise, mask, grid).any()
