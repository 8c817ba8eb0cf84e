"""Limits: which are known, and what a metric says beyond them."""

import math

import pytest
import torch

from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.units import rad_per_s_per_ppm
from qsm_pipeline.numerics.field.fit import weighted_field_fit
from qsm_pipeline.numerics.field.reliability import reliability
from qsm_pipeline.numerics.quality.assess import assess
from qsm_pipeline.numerics.quality.assessed import Assessed, Measured
from qsm_pipeline.numerics.quality.limits import CAUSE, DEFAULT_LIMITS, TYPICAL, check_limits
from qsm_pipeline.numerics.quality.metric import Metric
from qsm_pipeline.reports.figures import FIGURES
from qsm_pipeline.steps.methods import METHODS
from qsm_pipeline.steps.quality import quality


@pytest.mark.parametrize(
    ("value", "warning"),
    [
        (5.0, "snr is 5 dB, expected at least 10"),
        (10.0, ""),
        (20.0, ""),
        (20.1, "snr is 20.1 dB, expected at most 20"),
        (None, ""),
    ],
)
def test_a_metric_warns_outside_its_limits_only(value, warning):
    metric = Metric("snr", value, "dB", "").within({"min_snr": 10, "max_snr": 20, "max_x": 1})
    assert metric.warning == warning


def test_a_limit_that_is_not_finite_is_none():
    metric = Metric("unwrapping_incongruence_rad", 3.0, "rad", "x")
    without = metric.within({"max_unwrapping_incongruence_rad": math.inf})
    assert (without.maximum, without.warning) == (None, "")
    assert metric.within({"max_unwrapping_incongruence_rad": 0.01}).warning
    for method in METHODS:
        for key in method.no_limits:
            assert key in DEFAULT_LIMITS


def test_what_is_not_finite_is_not_known():
    assert Metric("a", float("nan"), "1", "").within({}).value is None
    assert Metric("a", float("inf"), "1", "").within({"max_a": 1.0}).value is None


def test_limits_of_the_user_win_and_others_stay():
    limits = check_limits({"max_rim_ratio": 3, "min_snr_echo_5": 2.5})
    assert limits["max_rim_ratio"] == 3.0
    assert limits["min_snr_echo_5"] == 2.5
    assert {k: limits[k] for k in DEFAULT_LIMITS if k != "max_rim_ratio"} == {
        k: v for k, v in DEFAULT_LIMITS.items() if k != "max_rim_ratio"
    }


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"max_rim": 3}, "'max_rim' is no limit; known: .*rim_ratio"),
        ({"rim_ratio": 3}, "'rim_ratio' is no limit"),
        ({"max_rim_ration": 3}, r"; did you mean 'max_rim_ratio'\?$"),
        ({"min_snr_echo_0": 3}, "no limit"),
        ({"max_rim_ratio": "3"}, "max_rim_ratio is '3', expected a number"),
        ({"max_rim_ratio": True}, "expected a number"),
    ],
)
def test_wrong_limits_are_named(changed, message):
    with pytest.raises(ValueError, match=message):
        check_limits(changed)


def _run(shape=(64, 64, 64), echoes=2, **changes):
    ones = torch.ones(shape)
    maps = torch.randn(4, *shape, generator=torch.Generator().manual_seed(1))
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[4:-4, 4:-4, 4:-4] = True
    measured = {
        "magnitude": 100 + maps[:1].repeat(echoes, 1, 1, 1),
        "raw_rad": math.pi * maps[:1].repeat(echoes, 1, 1, 1).sin(),
        "wrapped_rad": torch.zeros(echoes, *shape),
        "unwrapped_rad": torch.zeros(echoes, *shape),
        "relative_residual": 0.02 * ones,
        "total_field_ppm": maps[1],
        "echo_times_s": tuple(0.005 * (1 + n) for n in range(echoes)),
        "b0_tesla": 3.0,
    }
    values = {
        "weights": ones,
        "local_field_ppm": maps[1],
        "unsure": torch.zeros_like(mask),
        "field_residual_ppm": 0.1 * maps[2],
        "chi_ppm": 0.05 * maps[3],
        "brain": mask,
        "known": mask,
        "valid": mask,
        "grid": Grid(shape, (2.0, 2.0, 2.0)),
    }
    of_scan = {k: changes.pop(k) for k in list(changes) if k in measured}
    return Assessed(**{**values, **changes}, measured=Measured(**{**measured, **of_scan}))


def test_every_limit_is_of_a_metric_and_every_metric_has_words_and_a_picture():
    metrics = {m.name: m for m in assess(_run(), DEFAULT_LIMITS)}
    assert {key[4:] for key in DEFAULT_LIMITS} == set(metrics) - {"snr_echo_2"}
    assert set(TYPICAL) == set(metrics) - {"snr_echo_2"}
    assert set(CAUSE) <= set(metrics)
    for metric in metrics.values():
        known = quality(metric.name)
        assert known.figure in FIGURES
        assert metric.value is not None or metric.name in (
            "phase_pairing",  # noise is bright everywhere
            "decay_misfit_percent",  # needs three echoes
        ), metric.name
        assert metric.description
        assert not metric.reference or metric.reference.startswith("doi:10.")


def test_faults_reach_the_metric_that_is_named_after_them():
    weights = torch.ones(64, 64, 64)
    weights[:32] = 0
    run = _run(weights=weights, relative_residual=0.2 * torch.ones(64, 64, 64))
    found = {m.name: m for m in assess(run, DEFAULT_LIMITS)}
    assert found["unreliable_percent"].value == pytest.approx(50)
    assert found["fit_residual_percent"].value == pytest.approx(20)
    assert found["unreliable_percent"].warning
    assert found["fit_residual_percent"].warning


def test_one_echo_has_no_fit_residual_and_a_narrow_volume_no_limit_of_volume():
    found = {m.name: m for m in assess(_run(echoes=1), DEFAULT_LIMITS)}
    assert found["fit_residual_percent"].value is None
    assert found["mask_volume_ml"].minimum == 250
    narrow = {m.name: m for m in assess(_run(grid=Grid((64,) * 3, (1.4,) * 3)), DEFAULT_LIMITS)}
    assert narrow["mask_volume_ml"].minimum is None
    assert narrow["mask_volume_ml"].maximum is None
    assert narrow["rim_ratio"].maximum == DEFAULT_LIMITS["max_rim_ratio"]


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_an_echo_that_moved_raises_what_the_fit_leaves_and_what_is_unreliable(share):
    shape, times = (20, 20, 20), (0.005, 0.010, 0.015)
    generator = torch.Generator().manual_seed(2)
    field = 0.05 * torch.randn(shape, generator=generator)
    phase = torch.stack([rad_per_s_per_ppm(3.0) * field * t for t in times])
    phase += 0.02 * torch.randn(phase.shape, generator=generator)
    mask = torch.ones(shape, dtype=torch.bool)
    moved = phase.clone()
    moved[1, : int(20 * share)] += 1.5
    found = {}
    for name, unwrapped in (("sound", phase), ("moved", moved)):
        fit = weighted_field_fit(unwrapped, torch.ones_like(phase), mask, times, 3.0)
        weights, _ = reliability(fit.field_noise_ppm, fit.relative_residual, mask)
        run = _run(
            shape,
            3,
            wrapped_rad=phase,
            unwrapped_rad=unwrapped,
            weights=weights,
            brain=mask,
            relative_residual=fit.relative_residual,
            grid=Grid(shape),
        )
        found[name] = {m.name: m for m in assess(run, DEFAULT_LIMITS)}
    sound, moved = found["sound"], found["moved"]
    assert sound["fit_residual_percent"].value < 3
    assert sound["unreliable_percent"].value == 0
    assert moved["unreliable_percent"].value == pytest.approx(100 * share, abs=2)
    assert moved["unreliable_percent"].warning
    if share > 0.5:  # a median sees what most voxels have
        assert moved["fit_residual_percent"].value > 30
        assert moved["fit_residual_percent"].warning
