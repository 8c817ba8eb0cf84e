"""The inversion that everybody gets who chooses none is worth its weights."""

import numpy as np
import pytest
import torch

from qsm_pipeline.bids.simulated_dataset import tilted_affine
from qsm_pipeline.numerics.core.dipole import DipoleOperator
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.field_error import FieldError
from qsm_pipeline.numerics.simulate.field_errors import coloured_error, white_error
from qsm_pipeline.numerics.simulate.head import simulate_head
from qsm_pipeline.steps.local_field import LocalField
from qsm_pipeline.steps.susceptibility import invert_dipole

SHAPE, VOXEL_MM, TILT_DEG = (60, 68, 52), (1.5, 1.5, 1.7), 22
NOISE_PPM = 0.002


@pytest.fixture(scope="module")
def oblique():
    """Return truth, local field and magnitude of a block of a brain in oblique slices.

    Sources around the brain add half as much field as the brain, which background removal has
    left there.
    """
    affine = tilted_affine(SHAPE, VOXEL_MM, TILT_DEG)
    head, grid = simulate_head(SHAPE, affine), Grid.from_affine(SHAPE, np.asarray(affine))
    random = torch.Generator().manual_seed(1)
    brain, truth = head.brain, head.chi_ppm * head.brain
    around = torch.nn.functional.max_pool3d(brain[None].float(), 5, 1, 2)[0] > 0
    noise = torch.randn(2, *SHAPE, generator=random)
    sources = torch.nn.functional.avg_pool3d(noise[:1], 3, 1, 1)[0] * (around & ~brain)
    dipole = DipoleOperator(grid)
    local, residue = dipole(truth), dipole(sources)
    residue = residue - residue[brain].mean()
    residue = residue * (0.5 * local[brain].std() / residue[brain].std())
    field = (local + residue + NOISE_PPM * noise[1]) * brain
    magnitude = head.m0 * torch.exp(-0.012 * head.r2star_per_s)
    given = LocalField(field, brain, grid, weights=brain.float(), noise_ppm=NOISE_PPM)
    return truth, given, magnitude


def _error(oblique, method):
    truth, given, magnitude = oblique
    chi = invert_dipole(given, magnitude, method=method).chi_ppm
    difference, truth = (chi - truth)[given.mask], truth[given.mask]
    return float((difference - difference.mean()).norm() / (truth - truth.mean()).norm())


def _within(found, truth, mask):
    """Return how much of the error is within one and two expected errors."""
    off = (found.chi_ppm - truth)[mask]
    ratio = (off - off.mean()).abs() / found.uncertainty_ppm[mask]
    return [float((ratio < n).float().mean()) for n in (1, 2)]


def test_the_default_is_nearer_to_the_truth_than_total_variation(oblique):
    """Measured: 0.89 of the error of TV; 1.06 untrained, 1.12 with the residue added, 4 mirrored.

    What replaces the shipped network must be better than TV, too.
    """
    assert _error(oblique, "cycleqsm") < 0.95 * _error(oblique, "tv")


def test_the_expected_error_holds_where_the_error_is_coloured(oblique):
    """As that of measured fields is.

    Measured: 58 and 90 % within one and two expected errors, 31 and 58 % if the colour does not
    count. The head of this test has sharper edges than the ones that the expected error was
    calibrated on.
    """
    truth, given, _ = oblique
    random = torch.Generator().manual_seed(2)
    wrong = FieldError(0.001, 0.25, 3.2)
    error = coloured_error(given.grid, wrong, random) + white_error(given.grid, wrong, random)
    field = (DipoleOperator(given.grid)(truth) + error) * given.mask
    found = invert_dipole(LocalField(field, given.mask, given.grid), method="cycleqsm")
    once, twice = _within(found, truth, given.mask)
    assert 0.5 < once < 0.8
    assert twice > 0.85


def test_the_expected_error_holds_where_background_removal_left_a_field(oblique):
    """Which no spectrum shows.

    Measured: 63 and 92 % within one and two expected errors, 44 and 74 % if it does not count.
    """
    truth, given, magnitude = oblique
    once, twice = _within(invert_dipole(given, magnitude, method="cycleqsm"), truth, given.mask)
    assert 0.5 < once < 0.8
    assert twice > 0.85
