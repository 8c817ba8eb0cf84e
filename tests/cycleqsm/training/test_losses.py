"""The losses order maps as they should."""

import pytest
import torch

from qsm_pipeline.cycleqsm.training.losses import (
    contrast,
    field_cycle,
    gradient_difference,
    gradient_penalty,
    least_squares,
    map_cycle,
    masked_mean,
    masked_std,
    squared_error,
    wasserstein,
)


@pytest.fixture
def sample():
    mask = torch.zeros(2, 1, 12, 14, 10)
    mask[..., 2:10, 3:12, 2:8] = 1
    chi = 0.05 * torch.randn(mask.shape) * mask
    return chi, mask


def test_statistics_are_those_of_the_mask(sample):
    chi, mask = sample
    inside = chi[0][mask[0] > 0]
    assert masked_mean(chi, mask)[0].item() == pytest.approx(inside.mean().item(), abs=1e-7)
    expected = inside.std(correction=0).item()
    assert masked_std(chi, mask)[0].item() == pytest.approx(expected, rel=1e-5)


def test_squared_error_counts_every_sample_against_its_own_estimate(sample):
    chi, mask = sample
    error = torch.randn(mask.shape) * mask
    estimate = chi + torch.tensor([0.1, 3.0])[:, None, None, None, None] * error
    half = (chi + estimate) / 2 + 0.7 * mask  # the mean is not measured
    assert float(squared_error(half, chi, estimate, mask)) == pytest.approx(0.25, rel=1e-3)
    assert float(squared_error(chi, chi, estimate, mask)) == 0


@pytest.mark.parametrize("loss", [map_cycle, gradient_difference])
def test_map_losses_vanish_at_the_truth_and_grow_with_the_error(loss, sample):
    chi, mask = sample
    error = torch.randn(mask.shape) * mask
    values = [float(loss(chi + scale * error, chi, mask)) for scale in (0, 0.01, 0.03, 0.1)]
    assert values[0] == 0
    assert values == sorted(values)
    assert values[2] == pytest.approx(3 * values[1], rel=1e-3)
    # a constant makes no field, so nobody can be blamed for it
    assert float(loss(chi + 0.3 * mask, chi, mask)) < 1e-4
    # in units of the truth: scaling everything changes nothing
    scaled = float(loss(7 * (chi + 0.01 * error), 7 * chi, mask))
    assert scaled == pytest.approx(values[1], rel=1e-4)


def test_gradient_loss_sees_edges_where_the_map_loss_sees_amounts(sample):
    chi, mask = sample
    smooth = torch.linspace(-1, 1, 14)[None, None, None, :, None] * mask
    rough = torch.randn(mask.shape).sign() * mask
    smooth, rough = (x / masked_std(x, mask) * 0.02 for x in (smooth, rough))
    ratio = [
        float(gradient_difference(chi + x, chi, mask) / map_cycle(chi + x, chi, mask))
        for x in (smooth, rough)
    ]
    assert ratio[1] > 3 * ratio[0]


def test_contrast_is_the_squared_loss_of_fine_sources_alone():
    mask = torch.zeros(1, 1, 30, 34, 28)
    mask[..., 3:27, 3:31, 3:25] = 1
    broad = 0.1 * torch.linspace(-1, 1, 34)[None, None, None, :, None] * mask
    vessel = torch.zeros_like(mask)
    vessel[..., 14, 8:26, 12:14] = 0.3
    truth = broad + vessel
    assert float(contrast(truth, truth, mask)) == pytest.approx(0, abs=1e-10)
    assert float(contrast(broad + 0.6 * vessel, truth, mask)) == pytest.approx(0.16, rel=0.05)
    assert float(contrast(0.6 * broad + vessel, truth, mask)) < 1e-3
    assert float(contrast(truth + 0.05 * mask, truth, mask)) < 1e-8
    noise = 0.02 * torch.randn(mask.shape, generator=torch.Generator().manual_seed(0)) * mask
    assert float(contrast(truth + noise, truth, mask)) < 2e-3


def test_field_cycle_ignores_what_has_no_weight_and_most_of_the_noise(sample):
    field, mask = sample
    weights = mask.clone()
    weights[..., 5:8, :, :] = 0
    elsewhere = field + (weights == 0) * 5.0
    assert float(field_cycle(field, elsewhere, weights)) == 0
    structure = 0.02 * torch.linspace(-1, 1, 14)[None, None, None, :, None] * mask
    noise = torch.randn(mask.shape) * structure.std() * mask
    assert float(field_cycle(field, field + structure, mask)) > 2 * float(
        field_cycle(field, field + noise, mask)
    )


@pytest.mark.parametrize("loss", [least_squares, wasserstein])
def test_adversaries_want_the_opposite(loss):
    low, high = torch.full((2, 1, 3, 3, 3), 0.1), torch.full((2, 1, 3, 3, 3), 0.9)
    assert loss(high, True) < loss(low, True)
    assert loss(low, False) < loss(high, False)


@pytest.mark.parametrize(("slope", "expected"), [(1.0, 0.0), (3.0, 4.0), (0.5, 0.25)])
def test_gradient_penalty_is_the_squared_distance_of_the_slope_from_one(slope, expected):
    direction = torch.randn(1, 1, 4, 5, 6)
    direction *= slope / direction.norm()
    real, fake = torch.randn(2, 3, 1, 4, 5, 6)
    share = torch.rand(3, 1, 1, 1, 1)
    found = gradient_penalty(lambda x: (x * direction).sum((1, 2, 3, 4)), real, fake, share)
    assert float(found) == pytest.approx(expected, abs=1e-4)
