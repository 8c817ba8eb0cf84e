"""No method of the registry takes arrays that do not fit; each says what it got and expected."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from grids import GRIDS

from qsm_pipeline.numerics.background.problem import BackgroundProblem
from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.unwrap.problem import UnwrapProblem
from qsm_pipeline.steps.local_field import LocalField, remove_background
from qsm_pipeline.steps.methods import methods
from qsm_pipeline.steps.phase import correct_phase
from qsm_pipeline.steps.scan import Scan
from qsm_pipeline.steps.susceptibility import invert_dipole
from qsm_pipeline.steps.total_field import TotalField, fit_total_field
from qsm_pipeline.steps.unwrapping import unwrap_phase

GRID = GRIDS["anisotropic"]
X, Y, Z = GRID.shape
AFFINE = np.diag([*GRID.voxel_size_mm, 1.0])
MASK = torch.ones(GRID.shape, dtype=torch.bool)
FIELD = torch.zeros(GRID.shape)
ECHOES = torch.ones((2, *GRID.shape))
TIMES = (0.005, 0.010)


def _with(x, value):
    spoilt = x.clone()
    spoilt[(..., 3, 4, 5)] = value
    return spoilt


BAD_FIELDS = {
    "shorter": (FIELD[:-1], ValueError, r"shape \(24, 30, 16\), got \(23, 30, 16\)"),
    "numpy": (FIELD.numpy(), TypeError, "as torch.Tensor, got numpy.ndarray"),
    "integers": (FIELD.int(), TypeError, "floating-point numbers, got torch.int32"),
    "nan": (_with(FIELD, torch.nan), ValueError, "finite values of .*, got 1 that"),
    "infinite": (_with(FIELD, torch.inf), ValueError, "finite values of .*, got 1 that"),
}
BAD_MASKS = {
    "thinner": (MASK[..., :-1], ValueError, r"shape \(24, 30, 16\), got \(24, 30, 15\)"),
    "numbers": (MASK.float(), TypeError, "booleans, got torch.float32"),
    "empty": (~MASK, ValueError, "at least one voxel, got an empty mask"),
    "numpy": (MASK.numpy(), TypeError, "as torch.Tensor, got numpy.ndarray"),
}
BAD_WEIGHTS = {
    "shape": (FIELD[1:], ValueError, r"weights of shape .*, got \(23, 30, 16\)"),
    "negative": (_with(FIELD, -1.0), ValueError, "between 0 and 1, got -1 to 0"),
    "large": (FIELD + 7, ValueError, "between 0 and 1, got 7 to 7"),
    "nan": (_with(FIELD, torch.nan), ValueError, "finite values of weights"),
}


@pytest.mark.parametrize("method", methods("inversion"))
@pytest.mark.parametrize("bad", BAD_FIELDS)
def test_no_inversion_takes_a_field_that_does_not_fit(method, bad):
    field, error, message = BAD_FIELDS[bad]
    with pytest.raises(error, match=message):
        invert_dipole(LocalField(field, MASK, GRID), method=method)
    function = methods("inversion")[method].function
    with pytest.raises(error, match=message):
        function(InversionProblem(field, MASK, GRID))


@pytest.mark.parametrize("method", methods("background"))
@pytest.mark.parametrize("bad", BAD_FIELDS)
def test_no_background_removal_takes_a_field_that_does_not_fit(method, bad):
    field, error, message = BAD_FIELDS[bad]
    with pytest.raises(error, match=message):
        remove_background(TotalField(field, MASK, GRID), method=method)
    function = methods("background")[method].function
    with pytest.raises(error, match=message):
        function(BackgroundProblem(field, MASK, GRID))


@pytest.mark.parametrize("problem", [InversionProblem, BackgroundProblem, LocalField])
@pytest.mark.parametrize("bad", BAD_MASKS)
def test_no_problem_takes_a_mask_that_does_not_fit(problem, bad):
    mask, error, message = BAD_MASKS[bad]
    with pytest.raises(error, match=message):
        problem(FIELD, mask, GRID)


@pytest.mark.parametrize("problem", [InversionProblem, BackgroundProblem, LocalField, TotalField])
@pytest.mark.parametrize("bad", BAD_WEIGHTS)
def test_no_problem_takes_weights_that_do_not_fit(problem, bad):
    weights, error, message = BAD_WEIGHTS[bad]
    with pytest.raises(error, match=message):
        problem(FIELD, MASK, GRID, weights=weights)


@pytest.mark.parametrize("method", methods("unwrap"))
def test_no_unwrapping_takes_phase_that_does_not_fit(method):
    function = methods("unwrap")[method].function
    for phase, mask, times, message in (
        (ECHOES, MASK[1:], TIMES, r"mask of shape .*, got \(23, 30, 16\)"),
        (ECHOES[..., 1:], MASK, TIMES, r"phase_rad of shape .*, got \(2, 24, 30, 15\)"),
        (ECHOES, MASK, (0.01, 0.005), "ascending echo times"),
        (ECHOES, MASK, (0.01,), "Expected 2 echo times for 2 echoes, got 1"),
        (_with(ECHOES, torch.nan), MASK, TIMES, "finite values of phase_rad in the mask, got 2"),
    ):
        with pytest.raises(ValueError, match=message):
            function(UnwrapProblem(phase, mask, times, GRID))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"phase_rad": FIELD}, r"\(echoes, X, Y, Z\), got \(24, 30, 16\)"),
        ({"magnitude": ECHOES[:1]}, r"magnitude of shape \(2, 24, 30, 16\), got \(1,"),
        ({"magnitude": _with(ECHOES, torch.nan)}, "finite values of magnitude, got 2"),
        ({"echo_times_s": (5.0, 10.0)}, "are they milliseconds"),
        ({"echo_times_s": (0.0, 0.01)}, "positive, ascending"),
        ({"echo_times_s": (0.01, 0.01)}, "positive, ascending"),
        ({"echo_times_s": (0.01, float("nan"))}, "positive, ascending"),
        ({"b0_tesla": 0.0}, "between 0 and 30 tesla, got 0"),
        ({"b0_tesla": float("inf")}, "between 0 and 30 tesla, got inf"),
        ({"affine": np.eye(3)}, r"affine of shape \(4, 4\), got \(3, 3\)"),
        ({"affine": np.zeros((4, 4))}, "zero voxel size"),
        ({"readout": "spiral"}, "unknown, monopolar, bipolar, got 'spiral'"),
    ],
)
def test_no_scan_that_does_not_fit(change, message):
    good = Scan(ECHOES, ECHOES, TIMES, 3.0, AFFINE)
    with pytest.raises(ValueError, match=message):
        replace(good, **change)


@pytest.mark.parametrize("step", [correct_phase, unwrap_phase, fit_total_field])
def test_no_step_takes_a_mask_of_another_grid(step):
    scan = Scan(ECHOES, ECHOES, TIMES, 3.0, AFFINE)
    with pytest.raises(ValueError, match=r"mask of shape \(24, 30, 16\), got \(24, 30, 15\)"):
        step(scan, MASK[..., 1:])
    with pytest.raises(TypeError, match="mask as booleans"):
        step(scan, MASK.float())


@pytest.mark.parametrize("b0_dir", [(0, 0, 0), (0, float("nan"), 1)])
def test_no_direction_without_a_length(b0_dir):
    with pytest.raises(ValueError, match="B0 direction must be a non-zero 3-vector"):
        replace(GRID, b0_dir=b0_dir)
    assert replace(GRID, b0_dir=(0, 0, 5)).b0_dir == (0, 0, 1)


@pytest.mark.parametrize("voxel", [(1, 1, 0), (1, -1, 1), (1, 1, float("inf")), (1, 1)])
def test_no_voxels_without_a_size(voxel):
    with pytest.raises(ValueError, match="Voxel size must be three positive mm"):
        replace(GRID, voxel_size_mm=voxel)
