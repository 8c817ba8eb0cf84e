"""What cannot be right is said, and what cannot be used is refused."""

from dataclasses import replace

import pytest

from qsm_pipeline.bids.simulated_dataset import tilted_affine
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.smoothing import GaussianBlur
from qsm_pipeline.numerics.simulate import simulate_scan
from qsm_pipeline.numerics.simulate.signal import ScanParams
from qsm_pipeline.steps.local_field import LocalField, remove_background
from qsm_pipeline.steps.susceptibility import invert_dipole
from qsm_pipeline.steps.total_field import TotalField

SHAPE, VOXEL_MM = (48, 56, 44), (4.0, 4.0, 4.0)


@pytest.fixture(scope="module")
def head():
    affine = tilted_affine(SHAPE, VOXEL_MM, 10)
    made = simulate_scan(SHAPE, affine, ScanParams(echo_times_s=(0.01, 0.02)), seed=4)
    return made, Grid.from_affine(SHAPE, affine)


def _total(head, **changes):
    made, grid = head
    weights = made.brain.float()
    whole = TotalField(made.total_field_ppm * made.brain, made.brain, grid, weights, echoes=2)
    return replace(whole, **changes)


def _lost(made, share):
    """Return the trusted part of a brain whose lower slices have no phase."""
    filled = made.brain.sum((0, 1)).cumsum(0) / made.brain.sum()
    return made.brain & (filled > share)[None, None, :]


@pytest.mark.parametrize("share", [0.2, 0.35])
def test_a_brain_without_much_of_its_phase_is_told(head, share):
    made, _ = head
    local = remove_background(
        _total(head, trusted=_lost(made, share)), made.brain, method="vsharp"
    )
    (warning,) = [w for w in local.provenance.warnings if "has no phase" in w]
    assert "not valid there" in warning
    assert local.provenance.facts["UntrustedPercent"] == pytest.approx(100 * share, abs=6)
    assert not (local.mask & ~_lost(made, share)).any()


@pytest.mark.parametrize("share", [0.6, 0.92])
def test_a_brain_without_most_of_its_phase_is_refused(head, share):
    made, _ = head
    with pytest.raises(ValueError, match="no phase that can be trusted, expected"):
        remove_background(_total(head, trusted=_lost(made, share)), made.brain, method="vsharp")


def test_a_sound_scan_is_not_warned_of(head):
    made, _ = head
    local = remove_background(_total(head), made.brain, method="vsharp")
    assert local.provenance.warnings == ()
    assert invert_dipole(local, method="tkd").provenance.warnings == ()


@pytest.mark.parametrize("sigma_mm", [4.0, 8.0])
def test_filtered_phase_is_noticed(head, sigma_mm):
    made, grid = head
    field = made.total_field_ppm * made.brain
    blur = GaussianBlur(grid, sigma_mm, field)
    low = blur(field) / blur(made.brain.float()).clamp(min=1e-3)
    filtered = _total(head, total_field_ppm=(field - low) * made.brain)
    (warning,) = remove_background(filtered, made.brain, method="vsharp").provenance.warnings
    assert "high-pass" in warning
    assert "susceptibility is then too small" in warning


@pytest.mark.parametrize("method", ["tkd", "tv"])
def test_a_map_of_the_wrong_sign_is_noticed(head, method):
    made, grid = head
    field = made.local_field_ppm * made.brain
    for sign in (1, -1):
        local = LocalField(sign * field, made.brain, grid)
        warnings = invert_dipole(local, method=method).provenance.warnings
        assert len(warnings) == (sign < 0)
        assert all("sign of the phase" in w and "Manufacturer" in w for w in warnings)
