"""The fault generator: kinds, strengths, and that nothing is changed in place."""

from dataclasses import fields

import numpy as np
import pytest
import torch

from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.simulate.faults import FAULTS, HELD_OUT
from qsm_pipeline.numerics.simulate.protocols import PEOPLE, RawScan, random_protocol
from qsm_pipeline.steps.quality import QUALITIES

SHAPE = (24, 28, 20)
KINDS = {quality.kind for quality in QUALITIES}


@pytest.fixture
def scan():
    g = torch.Generator().manual_seed(0)
    x, y, z = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    brain = x**2 + y**2 + z**2 < 0.7
    ramp = torch.stack([(3 * x + y * z) * (n + 1) for n in range(4)])
    signal = torch.polar(torch.ones(4, *SHAPE) * (0.1 + brain.float()), ramp)
    signal += 0.02 * torch.complex(*torch.randn(2, 4, *SHAPE, generator=g))
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    times = (0.005, 0.010, 0.015, 0.020)
    return RawScan(signal.angle(), signal.abs(), times, 3.0, affine, brain, 0.1 * x * brain)


def _bytes(scan):
    return [np.asarray(getattr(scan, f.name)).tobytes() for f in fields(scan)]


def test_there_are_many_kinds_with_reasons_that_the_verdict_can_give():
    names = [fault.name for fault in FAULTS]
    assert len(set(names)) == len(names) >= 25
    assert set(names) > HELD_OUT
    for fault in FAULTS:
        assert set(fault.reasons) <= KINDS, fault.name


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_changes_a_copy_and_the_same_seed_gives_the_same(fault, scan):
    before = _bytes(scan)
    grid = Grid(SHAPE, scan.voxel_size_mm)
    volumes = {
        "unwrapped": (scan.phase_rad, scan.brain, grid),
        "local": (scan.chi_ppm, scan.brain, grid),
        "map": (scan.chi_ppm, scan.brain, grid),
        "scan": (scan,),
    }[fault.stage]
    strength = fault.strengths[-1]
    one, two = (
        fault.apply(*volumes, strength, torch.Generator().manual_seed(1)) for _ in range(2)
    )
    assert _bytes(scan) == before
    if fault.stage == "scan":
        assert _bytes(one) == _bytes(two) != before
        assert one.brain.any()
        assert one.phase_rad.shape == one.magnitude.shape
        assert one.phase_rad.isfinite().all()
    else:
        assert torch.equal(one, two)
        assert one.shape == volumes[0].shape
        assert not torch.equal(one, volumes[0])


def test_protocols_span_people_fields_and_echoes():
    protocols = [random_protocol(seed) for seed in range(60)]
    assert {p.people for p in protocols} == set(PEOPLE)
    assert {p.params.b0_tesla for p in protocols} == {1.5, 3.0, 7.0}
    assert {1, 2} < {len(p.params.echo_times_s) for p in protocols}
    assert {p.slab_mm < 100 for p in protocols} == {True, False}
    assert random_protocol(5) == random_protocol(5) != random_protocol(6)
