"""Which parts of the field are believed."""

import pytest
import torch
from grids import GRIDS, radius_mm

from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.units import rad_per_s_per_ppm
from qsm_pipeline.numerics.field.fit import weighted_field_fit
from qsm_pipeline.numerics.field.reliability import rim_weight, steepness_weight
from qsm_pipeline.numerics.field.trust import ambiguity_time_s, find_trust

TIMES = (0.004, 0.010, 0.016, 0.022)


def test_dephased_late_echoes_are_left_out_of_the_fit():
    field = torch.full((6, 5, 4), 0.3)
    magnitude = torch.ones(4, 6, 5, 4)
    phase = rad_per_s_per_ppm(3.0) * field * torch.tensor(TIMES)[:, None, None, None]
    phase = phase + 0.01 * torch.randn(phase.shape)
    phase[2:, 2, 2, 2] += 2.0
    mask = torch.ones(6, 5, 4, dtype=torch.bool)
    fit = weighted_field_fit(phase, magnitude, mask, TIMES, 3.0)
    assert abs(float(fit.total_field_ppm[2, 2, 2]) - 0.3) < 0.01
    assert fit.relative_residual[2, 2, 2] < 0.05
    # two of the four echoes carry less information: (4^2 + 10^2) of (4^2 + 10^2 + 16^2 + 22^2)
    ratio = float(fit.field_noise_ppm[2, 2, 2] / fit.field_noise_ppm[0, 0, 0])
    assert abs(ratio - (856 / 116) ** 0.5) < 1e-3


def test_unreliable_voxels_are_dropped_at_the_surface_and_kept_inside():
    mask = torch.zeros(12, 10, 9, dtype=torch.bool)
    mask[1:11, 1:9, 1:8] = True
    weights = mask.float()
    weights[1, 4, 4] = weights[2, 4, 4] = weights[6, 5, 4] = 0
    trust = find_trust(torch.zeros(mask.shape), mask, (0.004,), 3.0, weights)
    expected = mask.clone()
    expected[1, 4, 4] = expected[2, 4, 4] = False
    assert torch.equal(trust.mask, expected)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_what_steep_phase_encloses_stays_and_what_it_cuts_off_at_the_surface_goes(grid):
    mask = radius_mm(grid) < 9
    inside, outside = radius_mm(grid, (-2.0, 0.0, 0.0)) < 3, radius_mm(grid, (8.0, 0.0, 0.0)) < 3
    field = torch.where(inside | outside, 40.0, 0.0)
    trust = find_trust(field, mask, (0.004,), 3.0, mask.float())
    assert trust.mask[inside].all()
    assert not trust.mask[outside & mask].any()
    assert trust.unsure[inside].all()
    assert trust.lost[inside].all()
    assert not trust.unsure[radius_mm(grid) > 8].any()
    mild = find_trust(
        field * 0.02, mask, (0.004,), 3.0, mask.float()
    )  # steep, but less than a turn
    assert mild.unsure[inside].any()
    assert not mild.lost.any()


@pytest.mark.parametrize(("step_rad", "kept"), [(0.4, 17), (0.6, 11)])
def test_phase_that_steps_by_more_than_a_quarter_turn_is_not_trusted_nor_what_lies_behind(
    step_rad, kept
):
    """In units of pi: half a turn is aliased, and noise reaches that from less."""
    field = torch.zeros(18, 6, 5)
    field[12:] = step_rad * torch.pi / (rad_per_s_per_ppm(3.0) * 0.004)
    mask = torch.zeros(field.shape, dtype=torch.bool)
    mask[:17] = True
    trusted = find_trust(field, mask, (0.004,), 3.0, torch.ones_like(field)).mask
    assert torch.equal(trusted.sum(0), torch.full((6, 5), kept))
    assert trusted[:kept].all()


@pytest.mark.parametrize(
    ("times", "expected"),
    [((0.02,), 0.02), ((0.0075, 0.015, 0.0225), 0.0075), ((0.004, 0.010, 0.016), 0.002)],
)
def test_echo_times_tell_which_fields_cannot_be_told_apart(times, expected):
    assert ambiguity_time_s(times) == pytest.approx(expected, rel=0.1)
    assert ambiguity_time_s(times) <= times[0]


def test_weights_fall_in_steep_field_and_at_the_rim():
    mask = torch.zeros(30, 30, 20, dtype=torch.bool)
    mask[2:28, 2:28, 2:18] = True
    field = torch.zeros(mask.shape)
    field[15:] = 0.2
    steep = steepness_weight(field, mask)
    assert torch.allclose(steep[14:16][mask[14:16]], torch.tensor(0.5))
    assert (steep[4:12][mask[4:12]] == 1).all()
    rim = rim_weight(mask, Grid((30, 30, 20), (1.0, 1.0, 2.0)))
    assert (rim[~mask] == 0).all()
    assert rim[14, 14, 10] == 1
    along = rim[2:8, 14, 10]
    assert (along.diff() >= 0).all()
    assert along[0] < 0.2
    assert along[-1] == 1


@pytest.mark.parametrize(("slices", "voxel_mm"), [(8, 1.0), (4, 2.0), (16, 0.5), (2, 1.0)])
def test_the_middle_of_a_thin_mask_counts(slices, voxel_mm):
    grid = Grid((30, 28, slices), (1.0, 1.0, voxel_mm))
    weights = rim_weight(torch.ones(grid.shape, dtype=torch.bool), grid)
    assert weights[15, 14, slices // 2] == 1
    thick = Grid((30, 28, slices + 20), (1.0, 1.0, voxel_mm))
    mask = torch.zeros(thick.shape, dtype=torch.bool)
    mask[..., 10 : 10 + slices] = True
    assert torch.allclose(rim_weight(mask, thick)[..., 10 : 10 + slices], weights)
