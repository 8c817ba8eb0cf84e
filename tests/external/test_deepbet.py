"""deepbet on a simulated head: shading and tilt must not matter."""

import numpy as np
import pytest

from qsm_pipeline.bids.simulated_dataset import tilted_affine
from qsm_pipeline.external.deepbet import brain_mask, level_shading, tilt_deg
from qsm_pipeline.numerics.simulate import simulate_scan

SHAPE, VOXEL = (92, 110, 56), (2.0, 2.0, 3.2)


def test_tilt_does_not_depend_on_voxel_size_or_order():
    for degrees in (0, 4, 25):
        affine = tilted_affine(SHAPE, VOXEL, degrees)
        assert tilt_deg(affine) == pytest.approx(degrees, abs=1e-3)
        permuted = affine[:, [2, 0, 1, 3]]
        assert tilt_deg(permuted) == pytest.approx(degrees, abs=1e-3)


def test_shading_is_levelled_and_zeros_stay():
    x = np.linspace(-1, 1, 60)[:, None, None] * np.ones((60, 64, 40))
    head = (x**2 < 0.7).astype(np.float32)
    shaded = (head * np.exp(x)).astype(np.float32)
    affine = np.diag([3, 3, 3, 1.0])
    level = level_shading(shaded, affine)
    inside = x**2 < 0.3
    assert level[inside].std() / level[inside].mean() < 0.4 * (
        shaded[inside].std() / shaded[inside].mean()
    )
    assert not level[head == 0].any()
    np.testing.assert_array_equal(level_shading(0 * shaded, affine), 0 * shaded)


def test_brain_of_a_tilted_head():
    affine = tilted_affine(SHAPE, VOXEL, 25)
    scan = simulate_scan(SHAPE, affine)
    brain = scan.brain.numpy()
    size = np.sqrt((scan.magnitude**2).sum(0)).numpy()
    shading = np.exp(np.linspace(0, 1, SHAPE[1]))[None, :, None].astype(np.float32)
    mask = brain_mask(size * shading, affine)
    assert mask.shape == brain.shape
    assert (mask & brain).sum() > 0.95 * brain.sum()
    assert 2 * (mask & brain).sum() / (mask.sum() + brain.sum()) > 0.9
