"""The simulator is seeded."""

import torch

from qsm_pipeline.bids.simulated_dataset import tilted_affine
from qsm_pipeline.numerics.simulate import simulate_scan


def test_same_seed_same_scan():
    shape = (48, 60, 44)
    affine = tilted_affine(shape, (3.8, 3.8, 3.8), 10)
    one, two, other = (simulate_scan(shape, affine, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.phase_rad, two.phase_rad)
    assert torch.equal(one.magnitude, two.magnitude)
    assert not torch.equal(one.phase_rad, other.phase_rad)
