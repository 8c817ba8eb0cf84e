"""A mouse, whose head is a person's scaled down, gets the same map."""

import numpy as np
import pytest
import torch

from qsm_pipeline.bids.simulated_dataset import tilted_affine
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.head_size import head_sized, length_scale
from qsm_pipeline.numerics.simulate import simulate_scan
from qsm_pipeline.numerics.simulate.signal import ScanParams
from qsm_pipeline.steps.chain import Methods, map_scan
from qsm_pipeline.steps.masking import find_mask
from qsm_pipeline.steps.scan import Scan

SHAPE, VOXEL, TIMES = (52, 62, 48), (3.5, 3.5, 3.5), (0.006, 0.012, 0.018)


@pytest.mark.parametrize(
    ("voxel_mm", "volume_ml", "expected"),
    [
        (1.0, 1200, 1.0),
        (0.7, 350, 1.0),
        (0.3, 80, 1.0),
        (1.0, 10, 1.0),
        (0.2, 9.6, 0.2),
        (0.1, 0.45, 0.0721),
        (0.15, 2.0, 0.1186),
    ],
)
def test_people_and_macaques_stay_and_rodents_are_scaled(voxel_mm, volume_ml, expected):
    count = round(volume_ml * 1000 / voxel_mm**3)
    mask = torch.ones(1, 1, count, dtype=torch.bool) if count < 5e7 else None
    if mask is None:
        pytest.skip("too many voxels")
    grid = Grid((1, 1, count), (voxel_mm,) * 3)
    assert length_scale(mask, grid) == pytest.approx(expected, rel=0.01)
    assert head_sized(grid, mask).voxel_size_mm[0] == pytest.approx(voxel_mm / expected, rel=0.01)


@pytest.mark.parametrize("scale", [0.05, 0.1])
def test_the_same_head_at_the_size_of_a_rodent_gets_the_same_map(scale):
    affine = tilted_affine(SHAPE, VOXEL, 15)
    made = simulate_scan(SHAPE, affine, ScanParams(echo_times_s=TIMES), seed=2)
    small = affine @ np.diag([scale, scale, scale, 1.0])
    maps = []
    for matrix in (affine, small):
        scan = Scan(made.phase_rad, made.magnitude, TIMES, 3.0, matrix)
        mask = find_mask(scan, own=made.brain)
        maps.append(map_scan(scan, Methods(inversion="tv"), mask=mask).susceptibility.chi_ppm)
    large, tiny = (x[made.brain] - x[made.brain].mean() for x in maps)
    true = made.chi_ppm[made.brain] - made.chi_ppm[made.brain].mean()
    errors = [float((x - true).norm() / true.norm()) for x in (large, tiny)]
    assert errors[1] == pytest.approx(errors[0], rel=0.1)
    assert float((large - tiny).norm() / large.norm()) < 0.2
