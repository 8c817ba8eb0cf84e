"""Each metric is right where the answer is known and moves the right way when its fault comes."""

import math

import numpy as np
import pytest
import torch
from grids import GRIDS, radius_mm

from qsm_pipeline.bids.simulated_dataset import tilted_affine
from qsm_pipeline.numerics.core.dipole import DipoleOperator
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.quality.fidelity import inversion_residual_percent
from qsm_pipeline.numerics.quality.mask_shape import compactness, volume_ml
from qsm_pipeline.numerics.quality.noise import signal_to_noise
from qsm_pipeline.numerics.quality.rim import rim_ratio
from qsm_pipeline.numerics.quality.streaking import streaking_index
from qsm_pipeline.numerics.quality.unwrapping import incongruence_rad, jumps_percent
from qsm_pipeline.numerics.simulate import simulate_head
from qsm_pipeline.steps.methods import methods as methods_of

METHODS = {n: m for n, m in methods_of("inversion").items() if n != "cycleqsm"}

EVERY_GRID = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)


@pytest.fixture(scope="module", params=[(2.4, 2.4, 2.4, 0), (2.0, 2.4, 3.0, 25)], ids=str)
def brain(request):
    """Return chi, mask, grid, local field and background of heads, upright and oblique."""
    *voxel, tilt = request.param
    shape = tuple(round(n / v) for n, v in zip((185, 220, 165), voxel, strict=True))
    affine = tilted_affine(shape, tuple(voxel), tilt)
    head = simulate_head(shape, affine)
    grid = Grid.from_affine(shape, affine)
    chi = torch.where(head.brain, head.chi_ppm, 0.0)
    operator = DipoleOperator(grid)
    return chi, head.brain, grid, operator(chi), operator(head.chi_ppm - chi)


@EVERY_GRID
@pytest.mark.parametrize("snr", [5.0, 20.0, 80.0])
def test_snr_of_a_smooth_image_with_known_noise(grid, snr):
    distance = radius_mm(grid)
    mask = distance < 9
    signal = 700 * (1 + 0.3 * torch.cos(distance / 20))
    noise = torch.randn(grid.shape) * 700 * (1 + 0.3) / snr
    found = signal_to_noise(signal + noise, mask)
    assert found == pytest.approx(snr, rel=0.2)
    assert signal_to_noise(1e-3 * (signal + noise), mask) == pytest.approx(found, rel=1e-3)


def test_snr_without_room_or_noise_is_not_known():
    mask = torch.zeros(12, 12, 12, dtype=torch.bool)
    image = torch.rand(12, 12, 12)
    mask[3:9, 3:9, 3:9] = True  # six voxels wide
    assert signal_to_noise(image, mask) is None
    assert signal_to_noise(torch.ones(12, 12, 12), torch.ones_like(mask)) is None
    assert signal_to_noise(image[:, :, :6], torch.ones(12, 12, 6, dtype=torch.bool)) is None


@pytest.mark.parametrize("voxel", [(1.0, 1.0, 1.0), (0.8, 1.0, 2.0)])
def test_a_ball_has_its_volume_and_compactness_one(voxel):
    grid = Grid(tuple(round(60 / v) for v in voxel), voxel)
    ball = radius_mm(grid) < 25
    assert volume_ml(ball, grid) == pytest.approx(4 / 3 * math.pi * 25**3 / 1000, rel=0.01)
    assert compactness(ball, grid) == pytest.approx(1, abs=0.03)
    assert compactness(torch.zeros_like(ball), grid) is None


def test_a_box_has_the_compactness_of_its_faces():
    grid = Grid((30, 20, 10), (1.0, 2.0, 3.0))
    box = torch.zeros(grid.shape, dtype=torch.bool)
    box[:6, 2:8, 3:7] = True  # 6 x 12 x 12 mm, at the border of the volume too
    surface = 2 * (6 * 12 + 6 * 12 + 12 * 12)
    expected = math.pi ** (1 / 3) * (6 * 864) ** (2 / 3) / (2 / 3 * surface)
    assert compactness(box, grid) == pytest.approx(expected, rel=1e-6)


def test_holes_and_a_ragged_rim_make_a_brain_less_compact(brain):
    _, mask, grid, _, _ = brain
    whole = compactness(mask, grid)
    assert 0.6 < whole < 0.9
    holes = mask & (torch.rand(grid.shape) > 0.05)
    eaten = mask & (torch.rand(grid.shape) > 0.5 * (rim_of(mask)))
    assert compactness(holes, grid) < 0.7 * whole
    assert compactness(eaten, grid) < 0.9 * whole


def rim_of(mask):
    """Return the voxels of a mask with a neighbour outside."""
    inner = -torch.nn.functional.max_pool3d(-mask.float()[None, None], 3, 1, 1)[0, 0]
    return mask & (inner < 0.5)


@EVERY_GRID
def test_unwrapped_phase_has_no_jump_and_wrapped_phase_has_those_of_its_fringes(grid):
    axes = [torch.arange(n) * v for n, v in zip(grid.shape, grid.voxel_size_mm, strict=True)]
    x, y, _ = torch.meshgrid(*axes, indexing="ij")
    true = torch.stack([0.8 * x + 0.3 * y, 1.6 * x + 0.6 * y])
    wrapped = torch.angle(torch.polar(torch.ones_like(true), true))
    mask = torch.ones(grid.shape, dtype=torch.bool)
    assert jumps_percent(true, mask) == 0
    assert incongruence_rad(true, wrapped, mask) < 1e-5
    turns = torch.round((true - wrapped) / (2 * math.pi))
    jumps = sum(int(torch.diff(turns, dim=a).abs().sum()) for a in (1, 2, 3))
    pairs = 2 * sum(mask.numel() // n * (n - 1) for n in grid.shape)
    assert jumps_percent(wrapped, mask) == pytest.approx(100 * jumps / pairs, rel=1e-6)
    assert incongruence_rad(wrapped, wrapped, mask) == 0


def test_a_block_that_is_a_turn_off_in_one_echo_is_seen(brain):
    _, mask, _, field, _ = brain
    phase = torch.stack([5 * field, 10 * field])
    before = jumps_percent(phase, mask)
    wrong = phase.clone()
    n = mask.shape[0] // 2
    wrong[1, :n] += 2 * math.pi
    cut = int((mask[n] & mask[n - 1]).sum())
    pairs = 2 * sum(int((mask & mask.roll(1, axis)).sum()) for axis in range(3))
    assert jumps_percent(wrong, mask) - before == pytest.approx(100 * cut / pairs, rel=0.05)
    assert incongruence_rad(wrong, phase, mask) < 1e-5


def test_a_method_that_smooths_the_phase_is_seen():
    wrapped = torch.rand(1, 8, 9, 10) - 0.5
    mask = torch.ones(8, 9, 10, dtype=torch.bool)
    assert incongruence_rad(wrapped + 0.25, wrapped, mask) == pytest.approx(0.25, rel=1e-5)
    assert incongruence_rad(wrapped + 2 * math.pi - 0.25, wrapped, mask) == pytest.approx(
        0.25, rel=1e-4
    )


def _tkd(field, mask, grid, threshold):
    method = METHODS["tkd"]
    problem = InversionProblem(torch.where(mask, field, 0.0), mask, grid)
    return method.function(problem, method.params(threshold=threshold))


def test_streaks_raise_the_index_and_the_truth_has_none(brain):
    chi, mask, grid, field, _ = brain
    truth = streaking_index(chi, mask, grid)
    assert truth == pytest.approx(1, abs=0.12)
    assert streaking_index(torch.where(mask, 3 * chi - 7, 0.0), mask, grid) == pytest.approx(
        truth, rel=1e-3
    )
    noisy = field + 0.002 * torch.randn(grid.shape)
    index = [streaking_index(_tkd(noisy, mask, grid, t), mask, grid) for t in (0.3, 0.1, 0.02)]
    assert index[0] < 0.6 * truth
    assert index[0] < index[1] < index[2]
    assert index[2] > 1.5 * truth


def test_white_noise_has_no_preferred_direction():
    grid = Grid((48, 60, 40), (1.0, 0.8, 1.6), (0.3, -0.2, 0.93))
    mask = torch.ones(grid.shape, dtype=torch.bool)
    assert streaking_index(torch.randn(grid.shape), mask, grid) == pytest.approx(1, abs=0.03)
    assert streaking_index(torch.zeros(grid.shape), mask, grid) is None
    assert streaking_index(torch.randn(grid.shape), ~mask, grid) is None


def test_a_background_that_was_left_makes_a_rim(brain):
    chi, mask, grid, field, background = brain
    clean = rim_ratio(_tkd(field, mask, grid, 0.2), mask, grid)
    dirty = rim_ratio(_tkd(field + 0.05 * background, mask, grid, 0.2), mask, grid)
    assert clean < 1
    assert dirty > 1.4 * clean
    painted = torch.where(rim_of(mask), chi + 0.2, chi)
    assert rim_ratio(painted, mask, grid) > 2 * rim_ratio(chi, mask, grid)


def test_rim_needs_an_inside(brain):
    chi, mask, grid, _, _ = brain
    thin = torch.zeros_like(mask)
    thin[20:22] = True
    assert rim_ratio(torch.randn(grid.shape), thin, grid) is None
    assert rim_ratio(torch.zeros_like(chi), mask, grid) is None


def test_the_true_map_explains_the_field_and_others_do_not(brain):
    chi, mask, grid, field, _ = brain
    operator = DipoleOperator(grid)

    def residual(candidate):
        return inversion_residual_percent(field, field - operator(candidate), mask.float())

    assert residual(chi) < 1e-3
    assert residual(0.7 * chi) == pytest.approx(30, abs=0.1)
    assert residual(0 * chi) == pytest.approx(100, abs=0.1)
    assert residual(torch.roll(chi, 2, 0)) > 50
    shifted = inversion_residual_percent(field, field - operator(chi) + 0.02, mask.float())
    assert shifted < 1e-3  # a constant is the choice of the reference
    half = mask.float()
    half[: mask.shape[0] // 2] = 0
    broken = field - operator(chi) + (half == 0) * torch.randn(mask.shape)
    assert inversion_residual_percent(field, broken, mask.float()) > 100
    assert inversion_residual_percent(field, broken, half) < 1e-3
    assert inversion_residual_percent(0 * field, field, half) is None
    assert inversion_residual_percent(field, field, 0 * half) is None


def test_inputs_stay_as_they_are(brain):
    chi, mask, grid, _, _ = brain
    before = chi.clone()
    signal_to_noise(chi, mask)
    streaking_index(chi, mask, grid)
    rim_ratio(chi, mask, grid)
    np.testing.assert_array_equal(chi, before)
