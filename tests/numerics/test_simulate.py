"""The simulated head and its scan: physics, anatomy, repeatability."""

import math

import numpy as np
import pytest
import torch

from qsm_pipeline.bids.simulated_dataset import tilted_affine
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.voxels import grown
from qsm_pipeline.numerics.simulate import LABELS, TISSUES, simulate_head, simulate_scan
from qsm_pipeline.numerics.simulate.fields import (
    field_of_head,
    scanner_position_mm,
    second_order_shim,
    shim_coils,
)
from qsm_pipeline.numerics.simulate.shapes import ellipsoid, occupancy
from qsm_pipeline.numerics.simulate.signal import ScanParams, dephasing
from qsm_pipeline.numerics.simulate.subvoxels import merge
from qsm_pipeline.numerics.simulate.veins import paint_tubes

SHAPE, AFFINE = (46, 57, 44), tilted_affine((46, 57, 44), (4.0, 4.0, 4.0), 10)


@pytest.fixture(scope="module")
def head():
    """One head at 1.6 mm, without its lower half of the neck."""
    shape = (112, 136, 100)
    return simulate_head(shape, tilted_affine(shape, (1.6, 1.6, 1.6), 0), seed=3)


def _interior(mask, rounds=1):
    for _ in range(rounds):
        mask = -torch.nn.functional.max_pool3d(-mask[None].float(), 3, 1, 1)[0] > 0.5
    return mask


@pytest.fixture(scope="module")
def scan():
    return simulate_scan(SHAPE, AFFINE, seed=1)


def test_same_seed_same_scan(scan):
    one, (two, other) = scan, (simulate_scan(SHAPE, AFFINE, seed=seed) for seed in (1, 2))
    assert torch.equal(one.phase_rad, two.phase_rad)
    assert torch.equal(one.magnitude, two.magnitude)
    assert not torch.equal(one.phase_rad, other.phase_rad)
    assert not torch.equal(one.labels, other.labels)


def test_field_of_a_ball_in_air_is_the_analytic_one():
    shape = (48, 60, 40)
    affine = tilted_affine(shape, (2.4, 2.0, 3.0), 25)
    affine[:3, 3] -= affine[:3, :3] @ ((np.array(shape) - 1) / 2) + affine[:3, 3]
    position = scanner_position_mm(shape, affine)
    points = position.reshape(3, -1).T
    radius = 24.0
    share = occupancy(ellipsoid(points, (0, 0, 0), (radius,) * 3), 1.0).reshape(shape)
    contrast = -TISSUES["air"].chi_ppm
    nothing = torch.zeros(shape, dtype=torch.bool)
    total, local = field_of_head(-contrast * (1 - share), nothing, Grid.from_affine(shape, affine))
    assert not local.any()
    distance = position.norm(dim=0)
    cosine = position[2] / distance
    analytic = contrast / 3 * (radius / distance) ** 3 * (3 * cosine**2 - 1)
    analytic = torch.where(distance < radius, 0.0, analytic)
    error = total - analytic
    outside, inside = distance > radius + 8, distance < radius - 8
    assert analytic[outside].abs().max() > 2.5
    assert error[outside].square().mean().sqrt() < 0.005
    assert error[outside].abs().max() < 0.1
    assert error[inside].abs().max() < 0.003 * abs(contrast)
    assert error[inside].mean().abs() < 0.003


@pytest.mark.parametrize("tilt_deg", [0, 22])
def test_field_of_the_surroundings_is_harmonic_in_the_brain(tilt_deg):
    shape = (46, 54, 44)
    affine = tilted_affine(shape, (3.5, 3.5, 3.5), tilt_deg)
    head = simulate_head(shape, affine, seed=3)
    total, local = field_of_head(head.chi_ppm, head.brain, Grid.from_affine(shape, affine))
    outer = total - local
    neighbours = sum(torch.roll(outer, step, axis) for axis in range(3) for step in (1, -1))
    deep = _interior(head.brain, 3)
    assert outer[deep].std() > 0.05
    assert (neighbours - 6 * outer)[deep].std() < 0.001


def test_shim_leaves_nothing_that_a_coil_could_take():
    shape = (20, 24, 16)
    position = scanner_position_mm(shape, tilted_affine(shape, (6.0, 5.0, 8.0), 20))
    field = torch.randn(shape)
    mask = position.norm(dim=0) < 45
    shimmed = field + second_order_shim(field, mask, position)
    for coil in shim_coils(position):
        overlap = (shimmed[mask] * coil[mask]).sum() / coil[mask].norm() / field[mask].norm()
        assert overlap.abs() < 1e-5
    again = second_order_shim(shimmed, mask, position)
    assert again[mask].abs().max() < 1e-5


def test_field_does_not_depend_on_the_field_of_view():
    small = (30, 38, 30)
    first = np.array([6, 8, 10])
    inner_affine = AFFINE.copy()
    inner_affine[:3, 3] = AFFINE[:3, :3] @ first + AFFINE[:3, 3]
    outer_shape = (60, 78, 63)  # larger than the head
    outer_first = np.array([7, 10, 10])
    outer_affine = AFFINE.copy()
    outer_affine[:3, 3] = AFFINE[:3, 3] - AFFINE[:3, :3] @ outer_first
    params = ScanParams(snr=math.inf)
    inner = simulate_scan(small, inner_affine, params, seed=4)
    outer = simulate_scan(outer_shape, outer_affine, params, seed=4)
    start = first + outer_first
    inside = tuple(slice(int(a), int(a) + n) for a, n in zip(start, small, strict=True))
    assert torch.equal(inner.labels, outer.labels[inside])
    assert torch.equal(inner.brain, outer.brain[inside])
    assert torch.allclose(inner.chi_ppm, outer.chi_ppm[inside], atol=1e-4)
    brain = inner.brain
    difference = (inner.total_field_ppm - outer.total_field_ppm[inside])[brain]
    assert outer.total_field_ppm[inside][brain].std() > 0.05
    assert difference.abs().max() < 0.004


def test_voxels_at_borders_hold_the_mean_of_what_they_cover():
    coarse_shape = (22, 28, 20)
    coarse = tilted_affine(coarse_shape, (2.4, 2.4, 2.4), 15)
    fine = coarse.copy()
    fine[:3, :3] /= 2
    fine[:3, 3] -= fine[:3, :3].sum(1) / 2
    thick = simulate_head(coarse_shape, coarse, seed=5)
    thin = simulate_head(tuple(2 * n for n in coarse_shape), fine, seed=5)
    brain = merge(thin.brain.float(), (2, 2, 2)) > 0.5
    for name in ("chi_ppm", "m0", "r2star_per_s"):
        expected = merge(getattr(thin, name), (2, 2, 2))[_interior(brain)]
        found = getattr(thick, name)[_interior(brain)]
        assert (found.mean() - expected.mean()).abs() < 0.02 * expected.square().mean().sqrt()
        assert torch.corrcoef(torch.stack([found, expected]))[0, 1] > 0.9
    mixed = thick.chi_ppm[brain].unique().numel()
    assert mixed > 0.9 * int(brain.sum())


@pytest.mark.parametrize("radius_mm", [0.3, 1.0, 3.0])
def test_a_thin_vein_keeps_its_volume(radius_mm):
    vein = torch.tensor([[-12.0, -9.0, -7.0, 12.0, 8.0, 9.0, radius_mm, radius_mm]])
    length = (vein[0, 3:6] - vein[0, :3]).norm()
    volumes = []
    for voxel_mm in (1.0, 2.0):
        shape = tuple(int(n / voxel_mm) for n in (52, 52, 52))
        affine = torch.diag(torch.tensor([voxel_mm] * 3 + [1.0]))
        affine[:3, 3] = -26.0
        blur_mm = math.sqrt(voxel_mm**2 / 12 + 0.25**2)
        volumes.append(float(paint_tubes(vein, shape, affine, blur_mm).sum() * voxel_mm**3))
    caps = 4 / 3 * math.pi * radius_mm**3
    exact = float(math.pi * radius_mm**2 * length) + caps
    assert volumes == pytest.approx([exact, exact], rel=0.08)


def test_susceptibility_of_each_tissue_is_that_of_the_table(head):
    for name in ("white matter", "grey matter", "csf", "thalamus"):
        inside = _interior(head.labels == LABELS[name]) & head.brain
        assert inside.sum() > 50
        assert abs(float(head.chi_ppm[inside].mean()) - TISSUES[name].chi_ppm) < 0.006
    ratios = []
    for name in ("caudate", "putamen", "pallidum"):
        inside = _interior(head.labels == LABELS[name])
        assert inside.sum() > 20
        ratios.append(float(head.chi_ppm[inside].mean()) / TISSUES[name].chi_ppm)
    assert 0.7 < min(ratios) <= max(ratios) < 1.35  # iron differs between persons
    assert float(head.chi_ppm[head.labels == LABELS["air"]].median()) == pytest.approx(9.4)


@pytest.mark.parametrize(
    ("name", "least_ml", "most_ml"),
    [  # both sides, adults
        ("caudate", 5.5, 10.0),
        ("putamen", 6.0, 12.0),
        ("pallidum", 2.0, 4.5),
        ("thalamus", 8.5, 16.0),
        ("red nucleus", 0.25, 0.9),
        ("nigra", 0.4, 1.4),
        ("dentate", 0.8, 2.5),
        ("white matter", 400, 650),
        ("grey matter", 550, 850),
        ("vein", 3.0, 20.0),
    ],
)
def test_volumes_are_those_of_an_adult(head, name, least_ml, most_ml):
    volume = float(((head.labels == LABELS[name]) & head.brain).sum()) * 1.6**3 / 1000
    assert least_ml < volume < most_ml


def test_air_is_outside_the_brain_and_close_to_it(head):
    air = head.labels == LABELS["air"]
    assert not (air & head.brain).any()
    assert not ((head.labels == LABELS["bone"]) & _interior(head.brain)).any()
    assert (air & grown(head.brain, (5, 5, 5))).sum() > 100  # sinuses and mastoids within 8 mm


def test_lesions_are_added_by_number():
    shape = (64, 80, 56)
    affine = tilted_affine(shape, (2.5, 2.5, 2.5), 0)
    healthy, ill = (simulate_head(shape, affine, seed=6, n_lesions=n) for n in (0, 6))
    change = ill.chi_ppm - healthy.chi_ppm
    assert change.max() > 0.3
    assert change.min() < -1.0
    assert 0 < (change.abs() > 0.05).float().mean() < 1e-3


def test_noise_has_the_level_that_was_asked_for(scan):
    clean = simulate_scan(SHAPE, AFFINE, ScanParams(snr=math.inf), seed=1)
    difference = torch.polar(scan.magnitude, scan.phase_rad) - torch.polar(
        clean.magnitude, clean.phase_rad
    )
    for part in (difference.real, difference.imag):
        assert float(part.std()) == pytest.approx(1 / ScanParams().snr, rel=0.02)
    brain = clean.brain
    decay = torch.exp(torch.tensor(-0.005 * 18))
    assert float(clean.magnitude[0][brain].mean()) == pytest.approx(float(decay), rel=0.08)


def test_dephasing_is_the_mean_over_the_voxel():
    slope_hz = torch.tensor([30.0, -55.0, 12.0])
    place = torch.stack(torch.meshgrid(*(torch.arange(4.0),) * 3, indexing="ij"))
    field_hz = torch.einsum("c,cxyz->xyz", slope_hz, place)
    time_s = 0.025
    fine = (torch.arange(40) + 0.5) / 40 - 0.5
    exact = 1.0
    for slope in slope_hz:
        exact = exact * torch.exp(2j * math.pi * time_s * slope * fine).mean().real
    assert exact < 0.25
    assert torch.allclose(dephasing(field_hz, time_s), exact, atol=2e-3)


def test_thick_slices_sum_the_signal_of_their_parts():
    shape = (60, 72, 22)
    scan = simulate_scan(shape, tilted_affine(shape, (3.0, 3.0, 9.0), 20), seed=2)
    assert scan.phase_rad.shape == (5, *shape)
    assert scan.phase_rad.abs().max() <= math.pi + 1e-6
    volume = float(scan.brain.sum()) * 81 / 1000
    assert 1100 < volume < 1800
    assert not scan.chi_ppm[~scan.brain].any()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"echo_times_s": (0.01, 0.005)}, "increase"),
        ({"repetition_time_s": 0.02}, "longer than the last echo"),
        ({"snr": 0.0}, "snr"),
    ],
)
def test_impossible_sequences_are_refused(values, words):
    with pytest.raises(ValueError, match=words):
        ScanParams(**values)


def test_a_field_of_view_without_brain_is_refused():
    affine = np.diag([5.0, 5.0, 5.0, 1.0])
    affine[:3, 3] = 120.0
    with pytest.raises(ValueError, match="holds no brain"):
        simulate_scan((16, 16, 16), affine)


def test_field_is_that_of_an_outside_simulator():
    outside = pytest.importorskip("qsm_forward", reason="qsm-forward is not installed")
    shape, voxel_mm = (40, 48, 24), (2.0, 2.0, 4.0)  # it is wrong for unequal in-plane voxels
    affine = tilted_affine(shape, voxel_mm, 20)
    head = simulate_head(shape, affine, seed=1)
    grid = Grid.from_affine(shape, affine)
    chi = torch.where(head.brain, head.chi_ppm, 0.0)
    air = TISSUES["air"].chi_ppm
    ours, _ = field_of_head(chi + air, head.brain, grid)
    theirs = outside.generate_field(chi.numpy(), voxel_size=voxel_mm, B0_dir=grid.b0_dir)
    difference = (ours - torch.from_numpy(theirs))[head.brain]
    assert ours[head.brain].std() > 0.005
    assert difference.std() < 0.03 * ours[head.brain].std()
