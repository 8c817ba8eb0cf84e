"""Smoothing against scipy's, on grids of every kind."""

import numpy as np
import pytest
import torch
from grids import GRIDS
from scipy import ndimage

from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.smoothing import GaussianBlur, moving_mean


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("sigma_mm", [0.4, 3.0, 30.0])
def test_a_blurred_volume_is_that_of_a_volume_with_zeros_around(grid, sigma_mm):
    volume = torch.randn(grid.shape, generator=torch.Generator().manual_seed(0))
    expected = volume.numpy().astype(float)
    for axis, voxel in enumerate(grid.voxel_size_mm):
        expected = ndimage.gaussian_filter1d(
            expected, sigma_mm / voxel, axis, mode="constant", truncate=6
        )
    blurred = GaussianBlur(grid, sigma_mm, volume)(volume)
    np.testing.assert_allclose(blurred, expected, atol=1e-6 * np.abs(expected).max(), rtol=1e-4)


def test_a_wide_window_goes_through_few_nodes_and_is_the_same():
    grid = Grid((60, 52, 70), (1.0, 1.3, 0.9), (0.0, 0.0, 1.0))
    volume = torch.randn(grid.shape, generator=torch.Generator().manual_seed(0))
    expected = volume.numpy().astype(float)
    for axis, voxel in enumerate(grid.voxel_size_mm):
        sigma = 9 / voxel
        expected = ndimage.gaussian_filter1d(expected, sigma, axis, mode="constant", truncate=6)
    blur = GaussianBlur(grid, 9.0, volume)
    assert len(blur.stages) == 2
    np.testing.assert_allclose(blur(volume), expected, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_moving_mean_is_that_of_its_window(axis):
    volume = torch.randn(9, 8, 7, generator=torch.Generator().manual_seed(0))
    expected = volume.unfold(axis, 5, 1).mean(-1)
    torch.testing.assert_close(moving_mean(volume, 5, axis), expected)
