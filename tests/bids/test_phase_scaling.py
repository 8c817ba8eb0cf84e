import math

import numpy as np
import pytest
from bids_trees import magnitude, wrapped_phase
from hypothesis import given
from hypothesis import strategies as st

from qsm_pipeline.bids.phase_scaling import (
    StoredPhase,
    alternating_axis,
    decide_each,
    decide_phase_scaling,
    negate_alternate_slices,
)
from qsm_pipeline.exceptions import BIDSInputError

PI = math.pi
TRUE = wrapped_phase()


def facts(minimum, maximum, **known):
    return StoredPhase("f.nii", minimum, maximum, **known)


def circular_error(a, b):
    return np.abs(np.angle(np.exp(1j * (a - b)))).max()


STORED = {
    # name: (values after header scaling as a function of true radians, what is known)
    "siemens slope": (
        lambda p: np.floor((p + PI) / (2 * PI) * 4096).clip(0, 4095) * 2 - 4096,
        {"integer_dtype": True, "slope": 2.0, "intercept": -4096.0, "manufacturer": "Siemens"},
    ),
    "siemens rescaled by a converter": (
        lambda p: p / PI * 4096,
        {"integer_dtype": True, "slope": 0.125, "intercept": -0.94},
    ),
    "0..4095": (
        lambda p: np.floor((p + PI) / (2 * PI) * 4096).clip(0, 4095),
        {"integer_dtype": True, "manufacturer": "Siemens", "units": "arbitrary"},
    ),
    "philips milliradians": (
        lambda p: np.floor((p + PI) / (2 * PI) * 4096).clip(0, 4095) * 1.534 - 3141.59,
        {"integer_dtype": True, "slope": 1.534, "intercept": -3141.59, "manufacturer": "Philips"},
    ),
    "philips radians": (
        lambda p: np.floor((p + PI) / (2 * PI) * 4096).clip(0, 4095) * 0.001534 - 3.14159,
        {"integer_dtype": True, "slope": 0.001534, "intercept": -3.14159, "units": "rad"},
    ),
    "floats in milliradians": (lambda p: 1000 * p, {"manufacturer": "Philips"}),
    "radians": (lambda p: p, {"units": "rad"}),
    "radians not declared": (lambda p: p, {}),
    "radians from 0": (lambda p: p % (2 * PI), {"units": "rad"}),
    "radians from 0 not declared": (lambda p: p % (2 * PI), {}),
    "integers declared as rad": (
        lambda p: np.round(p / PI * 4096),
        {"units": "rad", "whole_numbers": True},
    ),
    "whole degrees": (lambda p: np.round(np.degrees(p) * 16) / 16, {"manufacturer": "Philips"}),
    "degrees from 0": (lambda p: np.degrees(p) % 360, {}),
    "milliradians of Siemens": (
        lambda p: 1000 * p,
        {"manufacturer": "Siemens", "low_wall": 0.02, "high_wall": 0.02},
    ),
    "arbitrary floats": (
        lambda p: p * 0.00367 / PI,
        {"units": "arbitrary", "low_wall": 0.01, "high_wall": 0.01},
    ),
}


@pytest.mark.parametrize("name", STORED)
def test_stored_phase_becomes_the_true_phase(name):
    store, known = STORED[name]
    values = store(TRUE)
    scaling = decide_phase_scaling(facts(values.min(), values.max(), **known))
    phase = scaling.to_radians(values)
    assert phase.dtype == np.float32
    assert np.abs(phase).max() <= PI + 1e-6
    assert circular_error(phase, TRUE) < 2.1e-3  # one step of 12 bits is 1.5e-3
    assert scaling.sign == 1


def test_ge_is_inverted():
    scaling = decide_phase_scaling(facts(-3142, 3141, manufacturer="GE", integer_dtype=True))
    assert scaling.sign == -1
    assert "milliradians" in scaling.reason
    assert "Inverted" in scaling.sign_reason
    assert circular_error(scaling.to_radians(1000 * TRUE), -TRUE) < 1e-5


def test_unknown_maker_is_noted():
    assert (
        "Canon is not known"
        in decide_phase_scaling(facts(-PI, PI, units="rad", manufacturer="Canon")).sign_reason
    )


def test_the_header_decides_even_if_the_data_do_not_fill_the_range():
    scaling = decide_phase_scaling(
        facts(-900, 500, integer_dtype=True, slope=2.0, intercept=-4096.0)
    )
    assert scaling.rad_per_unit == pytest.approx(PI / 4096)


def test_the_maker_decides_between_ranges_that_both_fit():
    siemens = decide_phase_scaling(facts(-3100, 3100, manufacturer="Siemens"))
    philips = decide_phase_scaling(facts(-3100, 3100, manufacturer="Philips"))
    assert siemens.rad_per_unit == pytest.approx(PI / 4096)
    assert philips.rad_per_unit == pytest.approx(1e-3)


def test_unwrapped_radians_are_wrapped():
    scaling = decide_phase_scaling(facts(-4.66, 4.71, units="rad"))
    assert "range -4.66..4.71, wrapped to -pi..pi" in scaling.reason
    assert scaling.to_radians(np.array([4.0])) == pytest.approx([4.0 - 2 * PI])


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (facts(5, 5), "every voxel of the phase is 5"),
        (facts(0, 0), "every voxel of the phase is 0"),
        (facts(-217, 217, integer_dtype=True, whole_numbers=True), r"-217\.\.217 \(integers"),
        (facts(-217, 217, units="rad", whole_numbers=True), "Units rad"),
        (facts(-1.0, 0.4), r"ranges over -1\.\.0\.4 \(floats"),
        (facts(0, 1500, manufacturer="Siemens", integer_dtype=True), "manufacturer Siemens"),
        (facts(-0.004, 0.004, low_wall=0.0, high_wall=0.01), "fits no known convention"),
        (facts(-0.004, 0.003, low_wall=0.01, high_wall=0.01), "convert the images to radians"),
        (facts(-1, 1, units="rad", low_wall=0.01, high_wall=0.01), r"wraps at -1\.\.1"),
        (facts(-5000, 5000, units="rad"), "fits no known convention"),
        (facts(-PI / 2, PI / 2, low_wall=0.01, high_wall=0.01), "half a turn"),
        (facts(-90, 90, low_wall=0.01, high_wall=0.01, integer_dtype=True), "half a turn"),
    ],
)
def test_refusals(found, message):
    with pytest.raises(BIDSInputError, match=r"^f\.nii: .*" + message):
        decide_phase_scaling(found)


@given(st.floats(-1e4, 1e4), st.sampled_from(["rad", "arbitrary", ""]), st.floats(0.001, 1e4))
def test_any_range_gives_a_decision_or_a_sentence(low, units, span):
    try:
        scaling = decide_phase_scaling(facts(low, low + span, units=units))
    except BIDSInputError:
        return
    assert math.isfinite(scaling.rad_per_unit)
    assert scaling.rad_per_unit > 0


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_alternating_slices_are_found_and_repaired(axis):
    smooth = np.broadcast_to(np.linspace(-2, 2, 10)[:, None, None], (10, 12, 8)).astype("f4")
    spoiled = negate_alternate_slices(smooth, axis)
    size = magnitude()
    assert alternating_axis(smooth, size) is None
    assert alternating_axis(spoiled, size) == axis
    assert circular_error(negate_alternate_slices(spoiled[None], axis)[0], smooth) < 1e-5


def test_noise_does_not_look_alternating():
    noise = np.random.default_rng(1).uniform(-PI, PI, (10, 12, 8))
    assert alternating_axis(noise, np.ones_like(noise)) is None
    assert alternating_axis(noise, np.zeros_like(noise)) is None


def test_echoes_that_are_stored_differently_are_scaled_each_by_its_own():
    whole = facts(-3141.5, 3141.5, manufacturer="Philips")
    mixed = [whole, facts(-PI, PI, manufacturer="Philips"), whole]
    found = [each.rad_per_unit for each in decide_each(whole, mixed)]
    assert found == pytest.approx([1e-3, 1, 1e-3])


def test_echoes_that_do_not_fill_their_range_alone_are_scaled_together():
    whole = facts(-PI, PI, units="arbitrary")
    found = decide_each(whole, [facts(-1.0, 0.4, units="arbitrary"), whole])
    assert [each.rad_per_unit for each in found] == [1, 1]
