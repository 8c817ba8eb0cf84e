"""The library: arrays and files in, the same kind out, and the numbers of the pipeline."""

import subprocess
import sys
from dataclasses import replace
from functools import cache

import nibabel as nib
import numpy as np
import pytest
import torch

import qsm_pipeline as qsm
from qsm_pipeline.app.cycleqsm.predict import predict
from qsm_pipeline.bids.simulated_dataset import tilted_affine
from qsm_pipeline.exceptions import BIDSInputError
from qsm_pipeline.numerics.core.units import hz_per_ppm
from qsm_pipeline.numerics.simulate import simulate_scan
from qsm_pipeline.numerics.simulate.signal import ScanParams
from qsm_pipeline.steps.chain import Methods, map_scan
from qsm_pipeline.steps.masking import find_mask
from qsm_pipeline.steps.scan import Scan

SHAPE, VOXEL = (40, 40, 32), (5.0, 5.8, 5.4)
AFFINE = tilted_affine(SHAPE, VOXEL, 10.0)
TIMES = (0.004, 0.008, 0.012)


@cache
def _made():
    return simulate_scan(SHAPE, AFFINE, ScanParams(echo_times_s=TIMES), seed=1)


@cache
def _mapped():
    """What the pipeline's steps make of the scan."""
    made = _made()
    scan = Scan(made.phase_rad, made.magnitude, TIMES, 3.0, AFFINE)
    mask = find_mask(scan, own=made.brain)
    return map_scan(scan, Methods(inversion="cycleqsm"), mask=mask)


@pytest.mark.parametrize("numpy", [True, False])
def test_five_lines_give_the_map_of_the_pipeline(numpy):
    made = _made()
    arrays = (made.phase_rad, made.magnitude, made.brain)
    phase, magnitude, brain = (x.numpy() for x in arrays) if numpy else arrays
    scan = qsm.Scan(phase, magnitude, TIMES, 3.0, AFFINE, mask=brain)
    local = qsm.remove_background(qsm.fit_field(scan))
    chi = qsm.invert(local)
    expected = _mapped()
    kind = np.ndarray if numpy else torch.Tensor
    for array in (local.local_field_ppm, chi.chi_ppm, chi.uncertainty_ppm, chi.mask):
        assert isinstance(array, kind)
    np.testing.assert_allclose(
        np.asarray(local.local_field_ppm), expected.local.local_field_ppm, atol=1e-7
    )
    np.testing.assert_allclose(np.asarray(chi.chi_ppm), expected.susceptibility.chi_ppm, atol=1e-5)
    verdict = qsm.judge(chi)
    assert verdict.level in ("good", "look", "wrong")
    assert bool(verdict.reason) == bool(verdict.action) == (verdict.level != "good")
    assert 0 < verdict.metrics["echo_misfit_rad"] < 0.1
    used = chi.provenance.parameters
    assert used["Unwrapping"] == "romeo"
    assert used["Inversion"] == "cycleqsm"


@pytest.mark.parametrize("units", ["ppm", "Hz", "rad/s", "rad"])
def test_a_field_of_the_pipeline_gives_its_map_again(tmp_path, units):
    expected = _mapped()
    local = expected.local
    files = {
        "field": local.local_field_ppm.numpy() * _per_ppm(units),
        "mask": expected.susceptibility.mask.numpy().astype(np.uint8),
        "weights": local.weights.numpy(),
        "magnitude": _made().magnitude[0].numpy(),
    }
    paths = {name: _save(tmp_path / f"{name}.nii.gz", array) for name, array in files.items()}
    said = []
    predict(
        paths["field"],
        paths["mask"],
        tmp_path / "chi.nii.gz",
        device="cpu",
        echo=said.append,
        uncertainty=tmp_path / "error.nii.gz",
        units=units,
        b0_tesla=3.0,
        echo_time_s=0.02,
        weights=paths["weights"],
        magnitude=paths["magnitude"],
    )
    inside = expected.susceptibility.mask.numpy()
    chi = nib.load(tmp_path / "chi.nii.gz").get_fdata()[inside]
    truth = expected.susceptibility.chi_ppm.numpy()[inside]
    error = (chi - chi.mean()) - (truth - truth.mean())
    assert np.sqrt(np.mean(error**2)) < 0.01 * truth.std()
    assert [line.split(" in ")[1] for line in said] == [
        str(tmp_path / "chi.nii.gz"),
        str(tmp_path / "error.nii.gz"),
    ]


def _per_ppm(units):
    hz = hz_per_ppm(3.0)
    return {"ppm": 1, "Hz": hz, "rad/s": 2 * np.pi * hz, "rad": 2 * np.pi * hz * 0.02}[units]


def _save(path, array):
    nib.save(nib.Nifti1Image(array, AFFINE), path)
    return path


def test_b0_along_another_axis_gives_the_same_map():
    local = _mapped().local
    field, brain = local.local_field_ppm.numpy(), local.brain.numpy()
    straight = np.diag([5.0, 5.8, 5.4, 1.0])
    given = qsm.LocalField(field, brain, straight, b0_dir=local.grid.b0_dir)
    plain = qsm.LocalField(field, brain, AFFINE)
    one, other = (qsm.invert(x, method="tkd").chi_ppm for x in (given, plain))
    np.testing.assert_allclose(one, other, atol=1e-6)
    wrong = qsm.invert(qsm.LocalField(field, brain, straight), method="tkd").chi_ppm
    assert np.abs(wrong - one).max() > 1e-3


def test_a_field_of_another_toolbox_is_judged_by_what_there_is():
    local = _mapped().local
    field, brain = local.local_field_ppm.numpy(), local.brain.numpy()
    sound = qsm.judge(qsm.invert(qsm.LocalField(field, brain, AFFINE), method="tkd"))
    assert "snr_echo_1" not in sound.metrics
    tenfold = qsm.judge(qsm.invert(qsm.LocalField(10 * field, brain, AFFINE), method="tkd"))
    assert tenfold.level == "wrong"
    assert tenfold.metrics["chi_spread_ppm"] == pytest.approx(
        10 * sound.metrics["chi_spread_ppm"], rel=1e-3
    )
    turned = qsm.LocalField(field, brain, AFFINE, b0_dir=(1, 0, 0))
    axis = qsm.judge(qsm.invert(turned, method="tkd")).metrics["axis_misfit"]
    assert axis > 2 * sound.metrics["axis_misfit"]


def test_a_map_is_no_field(tmp_path):
    path = _save(tmp_path / "sub-01_Chimap.nii.gz", np.zeros(SHAPE, np.float32))
    with pytest.raises(BIDSInputError, match="is a susceptibility map, expected a local field"):
        qsm.read_field(path, mask=path, units="ppm")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": np.ones((40, 40, 31), bool)}, "of one 3D shape, got"),
        ({"mask": np.ones(SHAPE)}, "Expected mask as booleans, got float64"),
        ({"weights": np.full(SHAPE, 3.0)}, "Expected weights between 0 and 1, got 3 to 3"),
        ({"affine": np.zeros((4, 4))}, "zero voxel size"),
    ],
)
def test_what_does_not_fit_is_told(change, message):
    good = {"local_field_ppm": np.ones(SHAPE), "mask": np.ones(SHAPE, bool), "affine": AFFINE}
    with pytest.raises((TypeError, ValueError), match=message):
        qsm.invert(qsm.LocalField(**(good | change)), method="tkd")


def test_importing_the_package_does_not_import_torch():
    code = "import sys, qsm_pipeline; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert set(qsm.__all__) <= set(dir(qsm))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = qsm.nothing


def test_a_total_field_of_another_tool_gives_the_same_map():
    expected = _mapped()
    scan = _made()
    total = expected.total
    given = qsm.Field(
        total.total_field_ppm.numpy(),
        expected.mask.brain.numpy() & total.trusted.numpy(),
        AFFINE,
        total.weights.numpy(),
        scan.magnitude[0].numpy(),
    )
    local = qsm.remove_background(given, method="vsharp")
    made = qsm.Scan(scan.phase_rad, scan.magnitude, TIMES, 3.0, AFFINE, mask=scan.brain)
    own = qsm.remove_background(qsm.fit_field(made), method="vsharp")
    np.testing.assert_allclose(local.local_field_ppm, own.local_field_ppm, atol=1e-6)
    plain = qsm.Field(given.total_field_ppm, given.mask, AFFINE)
    straight = replace(plain, affine=np.diag([5.0, 5.8, 5.4, 1.0]), _total=None)
    turned = replace(straight, b0_dir=total.grid.b0_dir, _total=None)
    one, wrong, other = (
        qsm.remove_background(x, method="pdf").local_field_ppm for x in (plain, straight, turned)
    )
    np.testing.assert_allclose(one, other, atol=1e-6)
    assert np.abs(one - wrong).max() > 1e-3
    with pytest.raises(ValueError, match="total_field_ppm and mask of one 3D shape"):
        qsm.Field(given.total_field_ppm, given.mask[:-1], AFFINE)
