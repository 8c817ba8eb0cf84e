"""The verdict from metrics: levels, reasons, limits of the user."""

import math

import pytest

from qsm_pipeline.numerics.quality.limits import CAUSE, DEFAULT_LIMITS, TYPICAL, check_limits
from qsm_pipeline.numerics.quality.metric import Metric
from qsm_pipeline.numerics.quality.verdict import WRONG_FROM, excess, judge


def _metric(name, value, **limits):
    return Metric(name, value, "1", "").within(check_limits(limits))


def _typical():
    return [_metric(name, value) for name, value in TYPICAL.items()]


def test_typical_values_are_good_and_lie_within_their_limits():
    verdict = judge(_typical())
    assert (verdict.level, verdict.reason, verdict.also) == ("good", "", ())
    assert verdict.score == pytest.approx(0, abs=1e-9)
    for key, limit in DEFAULT_LIMITS.items():
        side = 1 if key.startswith("max") else -1
        assert side * (limit - TYPICAL[key[4:]]) > 0, key


@pytest.mark.parametrize("key", DEFAULT_LIMITS)
def test_excess_is_one_at_every_limit_and_two_as_far_beyond(key):
    name, limit, typical = key[4:], DEFAULT_LIMITS[key], TYPICAL[key[4:]]
    assert excess(_metric(name, limit)) == pytest.approx(1)
    positive = typical > 0 and limit > 0
    beyond = limit**2 / typical if positive else 2 * limit - typical
    assert excess(_metric(name, beyond)) == pytest.approx(2)
    others = [metric for metric in _typical() if metric.name != name]
    verdict = judge([*others, _metric(name, beyond * (1 + math.copysign(1e-6, beyond - limit)))])
    assert verdict.score == pytest.approx(WRONG_FROM, rel=1e-3)
    assert verdict.reason == name


def test_what_is_not_known_says_nothing():
    assert excess(_metric("rim_ratio", None)) == 0
    assert judge([]).level == "good"


def test_a_cause_comes_before_what_it_disturbs():
    noise = _metric("snr_echo_1", 3.0)
    streaks = _metric("streaking_index", 5.0)
    assert excess(streaks) > excess(noise) > 1
    verdict = judge([streaks, noise])
    assert verdict.reason == "snr_echo_1"
    assert verdict.also == ("streaking_index",)
    assert verdict.level == "wrong"
    assert CAUSE["snr_echo_1"] > CAUSE["streaking_index"]


def test_a_limit_of_the_user_that_sound_maps_do_not_keep_asks_for_a_look():
    metric = _metric("rim_ratio", 0.7, max_rim_ratio=0.01)
    assert metric.warning
    assert judge([metric]).level == "look"
    assert judge([metric]).reason == "rim_ratio"
    assert judge([_metric("rim_ratio", 3.0, max_rim_ratio=math.inf)]).level == "good"
