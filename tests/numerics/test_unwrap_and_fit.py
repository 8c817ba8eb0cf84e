"""From wrapped phase to the field: exactness, congruence, recovery of known values."""

import math

import numpy as np
import pytest
import torch

from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.units import rad_per_s_per_ppm
from qsm_pipeline.numerics.field.fit import nonlinear_field_fit, weighted_field_fit
from qsm_pipeline.numerics.field.relaxation import fit_relaxation
from qsm_pipeline.numerics.field.reliability import reliability
from qsm_pipeline.numerics.field.trust import find_trust
from qsm_pipeline.numerics.params.phase import PhaseOffsetParams
from qsm_pipeline.numerics.phase.bipolar import (
    alternating_phase,
    bipolar_score,
    remove_alternating_phase,
)
from qsm_pipeline.numerics.phase.offset import remove_phase_offset, wrap
from qsm_pipeline.numerics.phase.quality import phase_quality
from qsm_pipeline.numerics.unwrap.problem import UnwrapProblem
from qsm_pipeline.numerics.unwrap.romeo import romeo
from qsm_pipeline.numerics.unwrap.turns import nearest_to
from qsm_pipeline.steps.methods import methods as methods_of

METHODS = methods_of("unwrap")

GRID = Grid((30, 26, 22), (1.0, 1.2, 1.5))
TIMES = (0.005, 0.010, 0.015, 0.020)
B0 = 3.0


def _mask():
    axes = [torch.linspace(-1, 1, n) for n in GRID.shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).norm(dim=0) < 0.9


def _field_ppm():
    x, y, z = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in GRID.shape], indexing="ij")
    return 0.9 * x + 0.6 * y * z + 0.5 * z * z - 0.1


def _echoes(field_ppm, offset=0.0, times=TIMES, noise=0.0):
    omega = rad_per_s_per_ppm(B0) * field_ppm
    r2star = 25.0
    signal = torch.stack(
        [
            torch.polar(torch.full_like(omega, np.exp(-t * r2star)), omega * t + offset)
            for t in times
        ]
    )
    signal = signal + noise * torch.complex(torch.randn(signal.shape), torch.randn(signal.shape))
    return torch.angle(signal), signal.abs()


@pytest.mark.parametrize("name", METHODS)
def test_unwraps_a_field_of_many_turns(name):
    mask, field = _mask(), _field_ppm()
    phase, magnitude = _echoes(field)
    method = METHODS[name]
    out = method.function(UnwrapProblem(phase, mask, TIMES, GRID, magnitude), method.params())
    assert (out[:, ~mask] == 0).all()
    true = rad_per_s_per_ppm(B0) * field * TIMES[-1]
    error = (out[-1] - true)[mask]
    spread = (error - error.median()).abs().max()
    assert phase.abs().max() <= np.pi + 1e-6 < (true[mask].max() - true[mask].min())
    if name == "laplacian":
        # it loses harmonic parts, so only the shape is compared
        assert torch.corrcoef(torch.stack([out[-1][mask], true[mask]]))[0, 1] > 0.9
    else:
        assert spread < 1e-3
        turns = (out - phase)[:, mask] / (2 * np.pi)
        torch.testing.assert_close(turns, turns.round(), atol=1e-4, rtol=0)


def test_romeo_unwraps_every_part_of_the_mask():
    field = _field_ppm()
    mask = torch.zeros(GRID.shape, dtype=torch.bool)
    mask[:12], mask[16:] = True, True
    phase, magnitude = _echoes(field)
    out = METHODS["romeo"].function(UnwrapProblem(phase, mask, TIMES, GRID, magnitude))
    for part in (slice(0, 12), slice(16, 30)):
        jump = torch.diff(out[-1][part], dim=0).abs().max()
        assert jump < np.pi


@pytest.mark.parametrize("off_resonance_ppm", [-0.3, 0.3, 0.6])
@pytest.mark.parametrize("times", [TIMES, (0.020, 0.030, 0.040), (0.007, 0.012, 0.023, 0.035)])
@pytest.mark.parametrize("name", ["romeo", "romeo-individual", "best-path"])
def test_off_resonance_of_many_turns_only_adds_a_constant(name, times, off_resonance_ppm):
    """At 3 T 0.3 ppm are 38 Hz: 0.8 turns at 20 ms, which the median cannot tell from -0.2."""
    mask, field = _mask(), 0.1 * _field_ppm()
    offset = 0.5 * torch.linspace(-1, 1, GRID.shape[0])[:, None, None] + 2
    phase, magnitude = _echoes(field + off_resonance_ppm, offset, times)
    phase, _ = remove_phase_offset(phase, magnitude, mask, times, GRID)
    method = METHODS[name]
    unwrapped = method.function(
        UnwrapProblem(phase, mask, times, GRID, magnitude), method.params()
    )
    fit = weighted_field_fit(unwrapped, magnitude, mask, times, B0)
    error = (fit.total_field_ppm - field)[mask]
    assert (error - error.median()).abs().max() < 0.01
    assert fit.relative_residual[mask].max() < 0.1


def test_off_resonance_is_found_in_each_part_of_the_mask():
    times = (0.020, 0.030, 0.040)
    mask = torch.zeros(GRID.shape, dtype=torch.bool)
    mask[:12], mask[16:] = True, True
    field = 0.05 * _field_ppm() + 0.3
    field[16:] += 0.2
    phase, magnitude = _echoes(field, times=times)
    out = METHODS["romeo"].function(UnwrapProblem(phase, mask, times, GRID, magnitude))
    fit = weighted_field_fit(out, magnitude, mask, times, B0)
    turns_per_spacing = (fit.total_field_ppm - field)[mask] * rad_per_s_per_ppm(B0) * 0.010
    wrong = wrap(turns_per_spacing)
    assert wrong.abs().max() < 1e-3


def test_nan_outside_the_mask_is_ignored():
    mask = _mask()
    phase, magnitude = _echoes(_field_ppm())
    clean = METHODS["best-path"].function(UnwrapProblem(phase, mask, TIMES, GRID, magnitude))
    phase[:, ~mask] = torch.nan
    out = METHODS["best-path"].function(UnwrapProblem(phase, mask, TIMES, GRID, magnitude))
    torch.testing.assert_close(out, clean)


def test_empty_mask_is_refused():
    phase, _ = _echoes(_field_ppm())
    with pytest.raises(ValueError, match="empty"):
        UnwrapProblem(phase, torch.zeros(GRID.shape, dtype=torch.bool), TIMES, GRID)


def test_offset_is_removed():
    mask, field = _mask(), 0.2 * _field_ppm()
    x = torch.linspace(-1, 1, GRID.shape[0])[:, None, None]
    phase, magnitude = _echoes(field, offset=0.8 * x + 1)
    corrected, _ = remove_phase_offset(
        phase, magnitude, mask, TIMES, GRID, PhaseOffsetParams(sigma_mm=2.0)
    )
    expected = wrap(rad_per_s_per_ppm(B0) * field * TIMES[0])
    error = wrap(corrected[0] - expected)[mask]
    assert error.abs().median() < 0.05
    with pytest.raises(ValueError, match="single echo"):
        remove_phase_offset(phase[:1], magnitude[:1], mask, TIMES[:1], GRID)


def test_offset_is_removed_up_to_the_surface():
    mask, field = _mask(), 0.2 * _field_ppm()
    x, y, z = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in GRID.shape], indexing="ij")
    true = 0.8 * x - 0.5 * y + 0.3 * z * z + 1
    phase, magnitude = _echoes(field, offset=true)
    _, offset = remove_phase_offset(
        phase, magnitude, mask, TIMES, GRID, PhaseOffsetParams(sigma_mm=3.0)
    )
    error = wrap(offset - true)[mask]
    assert error.abs().max() < 0.05  # smoothing once is off by up to 0.18


def test_bipolar_difference_is_removed():
    mask, field = _mask(), 0.3 * _field_ppm()
    x = torch.linspace(-1, 1, GRID.shape[0])[:, None, None].expand(GRID.shape)
    phase, magnitude = _echoes(field)
    signs = torch.tensor([-1.0, 1, -1, 1])[:, None, None, None]
    bipolar = wrap(phase + signs * 0.8 * x / 2)
    g = alternating_phase(bipolar, magnitude, mask, TIMES, GRID, sigma_mm=2.0)
    assert bipolar_score(g, mask) > 0.2
    fixed = remove_alternating_phase(bipolar, g)
    assert wrap(fixed - phase)[:, mask].abs().median() < 0.03
    monopolar = alternating_phase(phase, magnitude, mask, TIMES, GRID, sigma_mm=2.0)
    assert bipolar_score(monopolar, mask) < 0.01
    with pytest.raises(ValueError, match="at least 3 echoes"):
        alternating_phase(phase[:2], magnitude[:2], mask, TIMES[:2], GRID)


@pytest.mark.parametrize("method", ["weighted", "nonlinear"])
def test_field_and_its_noise(method):
    mask, field = _mask(), 0.1 * _field_ppm()
    phase, magnitude = _echoes(field, noise=0.02)
    unwrapped = METHODS["romeo"].function(UnwrapProblem(phase, mask, TIMES, GRID, magnitude))
    fit = weighted_field_fit(unwrapped, magnitude, mask, TIMES, B0)
    if method == "nonlinear":
        start = fit.total_field_ppm * rad_per_s_per_ppm(B0)
        fit = nonlinear_field_fit(phase, magnitude, mask, TIMES, B0, start)
    error = (fit.total_field_ppm - field)[mask]
    predicted = fit.field_noise_ppm[mask].median()
    assert error.mean().abs() < 0.1 * predicted
    assert 0.9 < error.std() / predicted < 1.1
    assert fit.relative_residual[mask].median() < 0.05


def test_weights_follow_the_noise_and_drop_bad_fits():
    mask = _mask()
    noise = torch.where(mask, 0.002, 0.0)
    noise[10] *= 4
    residual = torch.zeros(GRID.shape)
    residual[20] = 0.5
    weights, best = reliability(noise, residual, mask)
    assert best == pytest.approx(0.002)
    assert weights[10][mask[10]].unique().tolist() == pytest.approx([0.25])
    assert (weights[20] == 0).all()
    assert weights.max() <= 1


def test_steep_phase_and_what_it_hides_are_not_trusted():
    mask = _mask()
    field = 0.01 * _field_ppm()
    field[22:] += 3.0  # a pocket behind an aliased step
    trusted = find_trust(field, mask, TIMES, B0, mask.float()).mask
    assert not trusted[22:].any()
    assert (trusted[:21] == mask[:21]).all()


def test_quality_tells_smooth_phase_from_noise():
    mask = _mask()
    phase, magnitude = _echoes(0.1 * _field_ppm())
    random = (torch.rand_like(phase) - 0.5) * 2 * np.pi
    good = phase_quality(phase, magnitude, mask, TIMES)
    bad = phase_quality(random, magnitude, mask, TIMES)
    assert good[mask].median() > 0.85
    assert bad[mask].median() < 0.4
    assert (good[~mask] == 0).all()


def test_relaxation_is_recovered():
    mask = _mask()
    rate = torch.linspace(5, 80, GRID.shape[0])[:, None, None].expand(GRID.shape)
    magnitude = torch.stack([300 * torch.exp(-t * rate) for t in TIMES])
    maps = fit_relaxation(magnitude, mask, TIMES)
    torch.testing.assert_close(maps.r2star_per_s[mask], rate[mask], rtol=1e-3, atol=0.01)
    torch.testing.assert_close(maps.s0[mask], torch.full_like(rate[mask], 300), rtol=1e-3, atol=0)
    torch.testing.assert_close(maps.t2star_s[mask], 1 / rate[mask], rtol=1e-3, atol=1e-5)
    assert torch.isfinite(fit_relaxation(torch.zeros_like(magnitude), mask, TIMES).s0).all()
    with pytest.raises(ValueError, match="two echoes"):
        fit_relaxation(magnitude[:1], mask, TIMES[:1])
    spoilt = magnitude.clone()
    spoilt[1] = magnitude[1].flip(0)
    without = fit_relaxation(spoilt, mask, TIMES, left_out=1)
    torch.testing.assert_close(without.r2star_per_s[mask], rate[mask], rtol=1e-3, atol=0.01)


def _noisy(rate_per_s, snr, times, seed=0):
    """Return magnitudes of a signal of 1 that decays everywhere alike, with complex noise."""
    g = torch.Generator().manual_seed(seed)
    signal = torch.stack([torch.full((20, 22, 18), math.exp(-t * rate_per_s)) for t in times])
    noise = torch.randn(2, *signal.shape, generator=g) / snr
    return torch.complex(signal + noise[0], noise[1]).abs()


@pytest.mark.parametrize("times", [TIMES, (0.004, 0.012), (0.003, 0.006, 0.012, 0.02, 0.03)])
@pytest.mark.parametrize("rate_per_s", [0.0, 2.0, 20.0, 60.0])
@pytest.mark.parametrize("snr", [10.0, 40.0])
def test_relaxation_is_bounded_unbiased_and_knows_its_error(times, rate_per_s, snr):
    mask = torch.ones(20, 22, 18, dtype=torch.bool)
    maps = fit_relaxation(_noisy(rate_per_s, snr, times), mask, times)
    for values in (maps.r2star_per_s, maps.t2star_s, maps.s0, maps.r2star_error_per_s):
        assert values.isfinite().all()
    assert maps.longest_t2star_s == 20 * times[-1]
    assert float(maps.t2star_s.max()) <= maps.longest_t2star_s * (1 + 1e-6)
    assert float(maps.t2star_s.min()) > 0
    assert maps.noise == pytest.approx(1 / snr, rel=0.1)
    error = float(maps.r2star_error_per_s.median())
    assert float(maps.r2star_per_s.median()) == pytest.approx(rate_per_s, abs=0.3 * error + 0.1)
    if rate_per_s >= 20:
        assert float(maps.r2star_per_s.std()) == pytest.approx(error, rel=0.3)


def test_the_noise_floor_does_not_make_decay_look_slow():
    times, mask = (0.005, 0.015, 0.025, 0.035), torch.ones(20, 22, 18, dtype=torch.bool)
    magnitude = _noisy(60.0, 10.0, times)
    rate = fit_relaxation(magnitude, mask, times).r2star_per_s
    log = magnitude.log().flatten(1)
    centred = torch.tensor(times) - sum(times) / len(times)
    plain = -(centred[:, None] * log).sum(0) / centred.square().sum()
    assert abs(float(rate.median()) - 60) < 6 < abs(float(plain.median()) - 60)


def test_the_median_of_every_part_decides_on_its_turns():
    generator = np.random.default_rng(0)
    parts = generator.integers(0, 6, (12, 11, 10)).astype(np.int32)
    parts[parts == 3] = 0  # a number without a voxel has no median
    parts[parts == 5] = 3
    phase = generator.normal(size=parts.shape).astype(np.float32) + 6.5 * parts
    expected = phase.copy()
    for number in range(1, 5):
        here = parts == number
        expected[here] -= 2 * np.pi * np.round(np.median(phase[here]) / (2 * np.pi))
    found = nearest_to(0.0, phase, parts)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(found[parts == 0], phase[parts == 0])
    nothing = np.zeros_like(parts)
    np.testing.assert_array_equal(nearest_to(0.0, phase, nothing), phase)


def test_romeo_does_not_look_beyond_its_mask():
    mask = _mask()
    phase, magnitude = _echoes(_field_ppm())
    found = romeo(UnwrapProblem(phase, mask, TIMES, GRID, magnitude))
    noise = torch.rand(phase.shape, generator=torch.Generator().manual_seed(0))
    other = torch.where(mask, phase, noise)
    again = romeo(UnwrapProblem(other, mask, TIMES, GRID, magnitude))
    torch.testing.assert_close(found, again, rtol=0, atol=0)
