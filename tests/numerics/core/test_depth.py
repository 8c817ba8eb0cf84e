"""Distances to the surface of masks, against scipy's."""

import numpy as np
import pytest
from scipy import ndimage

from qsm_pipeline.numerics.core.depth import distance_mm


@pytest.mark.parametrize("voxel_mm", [(1.0, 1.0, 1.0), (0.6, 0.6, 3.0), (1.25, 1.45, 1.35)])
@pytest.mark.parametrize("shape", [(30, 41, 27), (50, 7, 9), (3, 1, 40)])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_distances_are_exact_on_any_grid(voxel_mm, shape, share):
    mask = np.random.default_rng(0).random(shape) < share
    expected = ndimage.distance_transform_edt(mask, voxel_mm)
    np.testing.assert_allclose(distance_mm(mask, voxel_mm), expected, rtol=1e-6)


def test_a_mask_goes_on_beyond_the_volume():
    mask = np.ones((4, 5, 6), bool)
    assert np.isinf(distance_mm(mask, (1, 2, 3))).all()
    mask[0] = False
    np.testing.assert_allclose(distance_mm(mask, (1, 2, 3))[:, 2, 2], [0, 1, 2, 3])
    assert not distance_mm(~np.ones((4, 5, 6), bool), (1, 2, 3)).any()
