"""Bleedings and calcifications stay in the map, or the map says that it does not know."""

from dataclasses import dataclass, replace
from functools import cache

import pytest
import store
import torch
from scipy import ndimage
from torch import Tensor

from qsm_pipeline.bids.simulated_dataset import tilted_affine
from qsm_pipeline.numerics.masking.refine import measured_region
from qsm_pipeline.numerics.phase.quality import phase_quality
from qsm_pipeline.numerics.simulate import Scan as SimulatedScan
from qsm_pipeline.numerics.simulate import simulate_scan
from qsm_pipeline.numerics.simulate.signal import ScanParams
from qsm_pipeline.numerics.simulate.strong_sources import StrongSource, add_sources, source_maps
from qsm_pipeline.steps.chain import Methods, map_scan
from qsm_pipeline.steps.masking import BrainMask
from qsm_pipeline.steps.provenance import Provenance
from qsm_pipeline.steps.scan import Scan

SHAPE, VOXEL_MM = (60, 70, 56), 3.0
AFFINE = tilted_affine(SHAPE, (VOXEL_MM,) * 3, 12.0)
SNR = 80.0
SEQUENCES = {
    "four echoes, tv": ((7.5, 15, 22.5, 30), "tv"),
    "uneven echoes, cycleqsm": ((4, 10, 16, 22), "cycleqsm"),
    "one echo, cycleqsm": ((12,), "cycleqsm"),
}
"""Echo times in ms and the inversion."""
TIMES_MS = tuple(sorted({time for times, _ in SEQUENCES.values() for time in times}))
SOURCES = {
    "microbleed": StrongSource((24.0, -8.0, 20.0), 5.0, 0.9, 0.7, 85.0),
    "calcification": StrongSource((-24.0, 4.0, 22.0), 5.0, -3.3, 0.3, 140.0),
    "mild calcification": StrongSource((20.0, -46.0, 24.0), 6.0, -0.8, 0.5, 60.0),
    "haematoma": StrongSource((-22.0, -46.0, 18.0), 11.0, 0.5, 0.8, 40.0),
}
"""The first and the last two leave enough signal; the second does not at 3 mm."""


def _params(times_ms, tesla=3.0):
    return ScanParams(
        echo_times_s=tuple(t / 1000 for t in times_ms),
        b0_tesla=tesla,
        snr=float("inf"),
        repetition_time_s=0.05,
    )


@dataclass(frozen=True)
class Case:
    """A scan without and with sources, and a map of both."""

    truth: Tensor
    brain: Tensor
    without: object
    mapped: object
    zones: dict[str, Tensor]
    cores: dict[str, Tensor]

    def error_percent(self, mapped, where):
        x = mapped.susceptibility.chi_ppm[where] - mapped.susceptibility.chi_ppm[where].mean()
        y = self.truth[where] - self.truth[where].mean()
        return float(100 * (x - y).norm() / y.norm())


def _map(scan, params, methods):
    raw = Scan(scan.phase_rad, scan.magnitude, params.echo_times_s, params.b0_tesla, AFFINE)
    quality = phase_quality(
        raw.phase_rad, raw.magnitude, torch.ones_like(scan.brain), raw.echo_times_s
    )
    measured = measured_region(scan.brain.numpy(), quality.numpy(), raw.grid)
    mask = BrainMask(scan.brain, torch.from_numpy(measured), quality, None, Provenance())
    return map_scan(raw, methods, mask=mask)


def _clean_scan(times_ms):
    """Return a scan without noise, whose echoes are some of one that all sequences share."""

    def simulate(folder):
        scan = simulate_scan(SHAPE, AFFINE, _params(TIMES_MS), seed=1)
        torch.save(vars(scan), folder / "scan.pt")

    whole = torch.load(store.once("scan for strong sources", simulate) / "scan.pt")
    echoes = [TIMES_MS.index(time) for time in times_ms]
    return SimulatedScan(**whole | {k: whole[k][echoes] for k in ("phase_rad", "magnitude")})


@cache
def _core(name):
    share = source_maps([SOURCES[name]], SHAPE, AFFINE, (0.01,), 3.0).share
    return share > 0.5


def _case(times_ms, inversion):
    params = _params(times_ms)
    clean = _clean_scan(times_ms)
    with_sources = add_sources(clean, list(SOURCES.values()), AFFINE, params, snr=SNR)
    methods = Methods(inversion=inversion)
    plain = _map(add_sources(clean, [], AFFINE, params, snr=SNR), params, methods)
    cores, zones = {}, {}
    for name in SOURCES:
        cores[name] = _core(name)
        zones[name] = torch.from_numpy(ndimage.binary_dilation(cores[name].numpy(), iterations=2))
    return Case(
        with_sources.chi_ppm,
        with_sources.brain,
        plain,
        _map(with_sources, params, methods),
        zones,
        cores,
    )


@pytest.fixture(scope="module", params=SEQUENCES.values(), ids=SEQUENCES)
def case(request):
    return _case(*request.param)


def test_no_source_vanishes(case):
    chi = case.mapped.susceptibility.chi_ppm
    for name, zone in case.zones.items():
        found, true = float(chi[zone].sum()), float(case.truth[zone].sum())
        assert found == pytest.approx(true, rel=0.15), name


def test_where_the_map_claims_to_be_right_it_is(case):
    made = case.mapped.susceptibility
    for name, core in case.cores.items():
        if made.valid[core].float().mean() < 0.5:
            continue
        found, true = float(made.chi_ppm[core].mean()), float(case.truth[core].mean())
        assert found == pytest.approx(true, rel=0.15), name


def test_where_it_does_not_know_it_says_so(case):
    made = case.mapped.susceptibility
    assert made.unsure[case.cores["calcification"]].float().mean() > 0.9
    if made.uncertainty_ppm is None:
        return
    error = (made.chi_ppm - case.truth).abs()
    for name, core in case.cores.items():
        if made.valid[core].float().mean() < 0.5:
            assert float((error <= made.uncertainty_ppm)[core].float().mean()) > 0.95, name


def test_the_rest_of_the_brain_is_as_without_them(case):
    rest = case.brain.clone()
    for zone in case.zones.values():
        rest &= ~torch.from_numpy(ndimage.binary_dilation(zone.numpy(), iterations=2))
    without = replace(case, truth=case.truth).error_percent(case.without, rest)
    assert case.error_percent(case.mapped, rest) < 1.05 * without


def test_it_is_said(case):
    (warning,) = [w for w in case.mapped.susceptibility.provenance.warnings if "sources" in w]
    assert "desc-qsm_mask" in warning
    assert case.without.susceptibility.provenance.warnings == ()
