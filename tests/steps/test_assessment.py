"""Is this map right? Faults of raw scans and of steps through the whole chain."""

import importlib.util
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from qsm_pipeline.numerics.masking.refine import refine_mask
from qsm_pipeline.numerics.phase.quality import phase_quality
from qsm_pipeline.numerics.simulate.faults import FAULTS
from qsm_pipeline.numerics.simulate.protocols import Protocol, scan_of
from qsm_pipeline.numerics.simulate.signal import ScanParams
from qsm_pipeline.numerics.simulate.strong_sources import StrongSource, source_maps
from qsm_pipeline.steps.quality import quality
from qsm_pipeline.steps.scan import Scan

_FILE = Path(__file__).parents[2] / "benchmarks" / "verdict.py"
_SPEC = importlib.util.spec_from_file_location("verdict_benchmark", _FILE)
assert _SPEC is not None
assert _SPEC.loader is not None
benchmark = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(benchmark)

BY_NAME = {fault.name: fault for fault in FAULTS}


@cache
def sound_scan():
    """Return the sound scan of an adult, with the edge of its mask refined."""
    params = ScanParams((0.006, 0.012, 0.018, 0.024), snr=70)
    scan = scan_of(Protocol("adult", params, (3.5, 3.5, 3.5), 12, float("inf"), 5))
    everywhere = torch.ones_like(scan.brain)
    phases = phase_quality(scan.phase_rad, scan.magnitude, everywhere, scan.echo_times_s)
    grid = Scan(scan.phase_rad, scan.magnitude, scan.echo_times_s, 3.0, scan.affine).grid
    refined = refine_mask(scan.brain.numpy(), phases.numpy(), grid)
    return replace(scan, brain=torch.from_numpy(refined))


def verdict_on(raw, fault=None, strength=0.0):
    _, _, metrics = benchmark.map_scan(raw, fault, strength, 3, "wiener")
    return benchmark.judged({"metrics": metrics, "slab": float("inf")})[0]


def test_a_sound_scan_is_good():
    assert verdict_on(sound_scan()).level == "good"


@pytest.mark.parametrize(
    ("name", "strength", "level"),
    [
        ("sign", 1, "look"),  # GE without Manufacturer: row M of the public reports
        ("field strength", 3, "look"),
        ("echo times", 2.5, "look"),  # a difference taken for an echo time: row B
        ("phase scale", 0.5, "wrong"),
        ("B0 tilted", 90, "look"),
        ("flip up-down", 1, "wrong"),
        ("drift", 1, "wrong"),
        ("slices missing", 0.15, "wrong"),
        ("noise", 0.4, "look"),
        ("phase filtered", 4, "wrong"),  # of an SWI product: row G
        ("turns scattered", 0.03, "look"),
        ("lobe missing", 0.4, "wrong"),
        ("mask with holes", 120, "look"),
        ("thin slab", 16, "look"),
        ("streaks", 8, "look"),
    ],
)
def test_a_fault_is_found_with_its_reason(name, strength, level):
    verdict = verdict_on(sound_scan(), BY_NAME[name], strength)
    assert verdict.level in (level, "wrong"), verdict
    assert quality(verdict.reason).kind in BY_NAME[name].reasons, verdict


def test_a_bleeding_asks_for_a_look_and_names_the_strong_source():
    """Row A of the public reports."""
    raw = sound_scan()
    inverse = np.linalg.inv(raw.affine)
    inside = raw.brain.nonzero().float().mean(0).numpy()
    place = tuple(float(v) for v in (raw.affine @ (*inside, 1))[:3])
    assert np.allclose((inverse @ (*place, 1))[:3], inside, atol=1e-3)
    source = StrongSource(place, 7.0, 1.5, signal=0.3, extra_r2star_per_s=100)
    maps = source_maps(
        [source], tuple(raw.brain.shape), raw.affine, raw.echo_times_s, raw.b0_tesla
    )
    signal = torch.polar(raw.magnitude, raw.phase_rad) * maps.signal_factor
    verdict = verdict_on(replace(raw, phase_rad=signal.angle(), magnitude=signal.abs()))
    assert verdict.level != "good"
    named = {quality(name).kind for name in (verdict.reason, *verdict.also)}
    assert "sources" in named, verdict
