"""Masks on balls whose true extent is known."""

import numpy as np
import pytest
import torch
from grids import GRIDS, radius_mm

from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.masking.refine import (
    measured_region,
    refine_mask,
    reliable_part,
)
from qsm_pipeline.numerics.masking.robust import check_mask, robust_mask
from qsm_pipeline.numerics.masking.two_pass import combine_passes
from qsm_pipeline.numerics.params.masking import (
    FieldRegionParams,
    RefinementParams,
    RobustMaskParams,
)
from qsm_pipeline.numerics.phase.quality import phase_quality

TIMES = (0.004, 0.008)
GRID = Grid((48, 56, 30), (1.0, 1.0, 1.6), (0.0, 0.3, 0.95))


def _scan(brain, seed=0):
    """Echoes with a smooth field where there is tissue and noise elsewhere."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.linspace(-1, 1, brain.shape[0])[:, None, None]
    echoes = []
    for time in TIMES:
        signal = torch.polar(brain.float(), 600 * time * x + torch.zeros(brain.shape))
        noise = torch.randn(2, *brain.shape, generator=generator) * 0.02
        echoes.append(signal + torch.complex(noise[0], noise[1]))
    echoes = torch.stack(echoes)
    return torch.angle(echoes), echoes.abs()


def _quality(brain):
    phase, magnitude = _scan(brain)
    return phase_quality(phase, magnitude, torch.ones_like(brain), TIMES).numpy()


def test_quality_separates_tissue_from_noise():
    brain = radius_mm(GRID) < 18
    quality = _quality(brain)
    assert np.median(quality[radius_mm(GRID).numpy() < 15]) > 0.85
    assert np.percentile(quality[radius_mm(GRID).numpy() > 21], 99) < 0.15


def test_refinement_finds_the_true_rim_from_masks_too_large_and_too_small():
    radius = radius_mm(GRID).numpy()
    brain = radius < 18
    quality = _quality(torch.from_numpy(brain))
    for guess_mm in (17, 18, 19.5):
        refined = refine_mask(radius < guess_mm, quality, GRID)
        dice = 2 * (refined & brain).sum() / (refined.sum() + brain.sum())
        assert dice > 0.97, guess_mm
        assert (refined & brain).sum() > 0.96 * brain.sum()


def test_refinement_makes_no_hole_inside_and_stops_at_its_depth():
    radius = radius_mm(GRID).numpy()
    brain = radius < 20
    quality = np.where(brain, 0.9, 0.01)
    vein = radius_mm(GRID, (6.0, 0.0, 0.0)).numpy() < 3
    quality[vein] = 0.0
    np.testing.assert_array_equal(refine_mask(brain, quality, GRID), brain)
    # a tunnel of bad phase from outside to the centre is followed only so far
    tunnel = np.zeros_like(brain)
    tunnel[: brain.shape[0] // 2 + 1, 27:29, 14:16] = True
    quality[tunnel] = 0.0
    refined = refine_mask(brain, quality, GRID, RefinementParams(depth_mm=6.0))
    lost = brain & ~refined
    assert lost.any()
    assert radius[lost].min() > 20 - 6 - 2
    assert not (lost & ~tunnel).any()


def test_a_refinement_that_loses_the_brain_is_an_error_with_the_numbers():
    brain = radius_mm(GRID).numpy() < 18
    quality = np.where(radius_mm(GRID).numpy() < 13, 0.9, 0.01)
    with pytest.raises(ValueError, match=r"only \d+ % of the mask would be left, .* 50 %"):
        refine_mask(brain, quality, GRID)


def test_a_slab_keeps_its_ends():
    slab = np.zeros(GRID.shape, bool)
    slab[10:-10, 10:-10] = True
    refined = refine_mask(slab, np.where(slab, 0.9, 0.0), GRID)
    np.testing.assert_array_equal(refined, slab)


def test_the_field_is_measured_around_the_brain_but_not_beyond_a_dark_gap():
    radius = radius_mm(GRID).numpy()
    brain = radius < 10
    fluid, gap, fat = (10, 12), (12, 13.5), (13.5, 16)
    quality = np.where((radius >= gap[0]) & (radius < gap[1]), 0.01, 0.9)
    region = measured_region(brain, quality, GRID, FieldRegionParams(margin_mm=5.0))
    np.testing.assert_array_equal(region, radius < fluid[1])
    assert not region[(radius >= fat[0]) & (radius < fat[1])].any()
    near = measured_region(brain, np.full(GRID.shape, 0.9), GRID, FieldRegionParams(margin_mm=2.0))
    assert near[brain].all()
    assert radius[near].max() < 10 + 2.0 + 1e-3
    np.testing.assert_array_equal(measured_region(brain, np.zeros(GRID.shape), GRID), brain)


def test_measured_region_takes_no_voxel_thicker_than_the_margin():
    brain = np.zeros((20, 21, 14), bool)
    brain[6:14, 6:15, 4:10] = True
    wider = np.zeros_like(brain)
    wider[5:15, 5:16, 4:10] = True
    wider[np.ix_([5, 14], [5, 15])] = brain[np.ix_([5, 14], [5, 15])]  # corners are 3.1 mm away
    thick = Grid(brain.shape, (2.2, 2.2, 3.5), (0.0, 0.3, 0.95))
    region = measured_region(
        brain, np.full(brain.shape, 0.9), thick, FieldRegionParams(margin_mm=3.0)
    )
    np.testing.assert_array_equal(region, wider)


def test_reliable_part_has_the_holes_and_refuses_a_bad_scan():
    brain = radius_mm(GRID).numpy() < 18
    vein = radius_mm(GRID, (6.0, 0.0, 0.0)).numpy() < 3
    quality = np.where(brain & ~vein, 0.9, 0.1)
    np.testing.assert_array_equal(reliable_part(brain, quality), brain & ~vein)
    with pytest.raises(ValueError, match=r"only \d+ % of the mask has reliable phase"):
        reliable_part(brain, np.where(radius_mm(GRID).numpy() < 10, 0.9, 0.1))


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_robust_mask_is_the_bright_ball(grid):
    ball = radius_mm(grid).numpy() < 8
    noise = np.abs(np.random.default_rng(0).normal(0, 2, grid.shape))
    mask = robust_mask(
        np.where(ball, 100, noise).astype(np.float32), grid, RobustMaskParams(opening_mm=2.0)
    )
    assert 2 * (mask & ball).sum() / (mask.sum() + ball.sum()) > 0.98


HEAD = Grid((80, 80, 80), (2.0, 2.0, 2.0))


@pytest.mark.parametrize(
    ("radius", "message"),
    [
        (0, "the mask is empty"),
        (20, r"the mask holds \d+ ml, expected at least 200 ml"),
        (200, "fills 100.0 % of the volume"),
    ],
)
def test_masks_that_are_no_brain(radius, message):
    with pytest.raises(ValueError, match=message):
        check_mask(radius_mm(HEAD).numpy() < radius, HEAD)


def test_a_mask_of_a_brain_is_accepted():
    check_mask(radius_mm(HEAD).numpy() < 65, HEAD)


def test_two_passes_agree_on_a_constant_and_keep_the_first_map():
    truth = torch.randn(12, 14, 10) * 0.05
    mask = radius_mm(Grid((12, 14, 10))) < 6
    reliable = mask & ~(radius_mm(Grid((12, 14, 10)), (1.0, 0.0, 0.0)) < 2)
    streaky = torch.where(mask, truth + 0.3, 0.0)
    combined = combine_passes(torch.where(reliable, truth, 0.0), streaky, reliable)
    torch.testing.assert_close(combined[mask], truth[mask])
    assert not combined[~mask].any()
    with pytest.raises(ValueError, match="No voxel is reliable"):
        combine_passes(truth, streaky, torch.zeros_like(mask))
