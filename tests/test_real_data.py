"""Real scans of three makers, from BIDS to a map or to the sentence that refuses them."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from bids_trees import make_dataset, place_image
from click.testing import CliRunner

from qsm_pipeline.bids.collect import collect_runs
from qsm_pipeline.bids.layout import index
from qsm_pipeline.bids.load import load_run
from qsm_pipeline.cli.main import main
from qsm_pipeline.numerics.quality.pairing import pairing
from qsm_pipeline.numerics.unwrap.problem import UnwrapProblem
from qsm_pipeline.steps.methods import methods as methods_of

METHODS = methods_of("unwrap")

CROP_TIMES = (0.004, 0.008, 0.012)


@pytest.fixture
def crop(tmp_path, shared_data):
    """Return a data set with the 7 T crop, whose echo times come from its own tests."""
    root = make_dataset(tmp_path / "raw")
    for part in ("mag", "phase"):
        image = nib.load(shared_data / "gre_crop" / f"{part}.nii.gz")
        for echo, time in enumerate(CROP_TIMES, 1):
            sidecar = {"EchoTime": time, "MagneticFieldStrength": 7}
            if part == "phase":
                sidecar["Units"] = "arbitrary"
            place_image(
                root, f"echo-{echo}_part-{part}_MEGRE", image.slicer[..., echo - 1], sidecar
            )
    return root


def _single_echo(root, folder, magnitude, phase, **phase_keys):
    make_dataset(root)
    for part, name in (("mag", magnitude), ("phase", phase)):
        sidecar = json.loads((folder / f"{name}.json").read_text())
        if part == "phase":
            sidecar |= phase_keys
        place_image(root, f"part-{part}_T2starw", folder / f"{name}.nii.gz", sidecar)
    return root


def _run(raw, out, *options):
    arguments = [raw, out, "participant", "--skip-bids-validation", "--omp-nthreads", 1, *options]
    return CliRunner().invoke(main, [str(a) for a in arguments])


def _map(out):
    image = nib.load(out / "sub-01/anat/sub-01_Chimap.nii.gz")
    sidecar = json.loads((out / "sub-01/anat/sub-01_Chimap.json").read_text())
    values = image.get_fdata(dtype=np.float32)
    assert np.isfinite(values).all()
    return values, sidecar


def test_7t_crop_shows_its_veins(crop, tmp_path):
    result = _run(crop, tmp_path / "out", "--mask-method", "robust")
    assert result.exit_code == 0, result.output
    chi, sidecar = _map(tmp_path / "out")
    assert "taken as -pi..pi" in sidecar["Inferred"]["phase_scaling"]
    assert "names no manufacturer" in sidecar["Inferred"]["phase_sign"]
    inside = chi != 0
    assert inside.mean() > 0.9
    assert 0.01 < chi[inside].std() < 0.1
    # the most paramagnetic voxels away from the border are veins, which decay fastest
    r2star = nib.load(tmp_path / "out/sub-01/anat/sub-01_R2starmap.nii.gz").get_fdata()
    core = np.zeros(chi.shape, bool)
    core[6:-6, 6:-6, 12:-6] = True
    veins = core & (chi > np.percentile(chi[core], 99.5))
    assert np.median(r2star[veins]) > 1.5 * np.median(r2star[core])


def test_brain_extraction_of_a_crop_is_refused(crop, tmp_path):
    result = _run(crop, tmp_path / "out")
    assert result.exit_code == 1
    assert "deepbet needs a whole head or a slab of one" in result.output
    assert "24 x 24 x 41 mm" in result.output
    assert "--mask-pattern" in result.output


def test_romeo_agrees_with_another_unwrapping_on_the_real_scan(crop):
    (run,) = collect_runs(index(crop)).runs
    loaded = load_run(run)
    problem = UnwrapProblem(
        phase_rad=torch.from_numpy(loaded.phase_rad),
        mask=torch.from_numpy(loaded.valid_mask),
        echo_times_s=CROP_TIMES,
        grid=loaded.grid,
        magnitude=torch.from_numpy(loaded.magnitude),
    )
    unwrapped = {}
    for name in ("romeo-individual", "best-path"):
        method = METHODS[name]
        unwrapped[name] = method.function(problem, method.params())
    turns = (unwrapped["romeo-individual"] - unwrapped["best-path"]) / (2 * torch.pi)
    assert (turns - turns.round()).abs().max() < 1e-3
    for echo in turns.round():
        assert (echo == echo.median()).float().mean() > 0.9989


@pytest.mark.slow
def test_prisma_head_from_a_phase_difference(tmp_path, shared_data):
    raw = _single_echo(
        tmp_path / "raw",
        shared_data / "prisma_fieldmap",
        "8_gre_field_mapping_e2",
        "9_gre_field_mapping_e2_ph",
        Units="arbitrary",
    )
    result = _run(raw, tmp_path / "out")
    assert result.exit_code == 0, result.output
    chi, sidecar = _map(tmp_path / "out")
    assert sidecar["EchoTimes"] == pytest.approx([0.00246])
    assert "-4096..4094 of Siemens" in sidecar["Inferred"]["phase_scaling"]
    assert 1000 < sidecar["BrainVolumeMl"] < 1800
    assert 0.01 < chi[chi != 0].std() < 0.1
    text = (tmp_path / "out/sub-01/anat/sub-01_desc-qc_Chimap.json").read_text()
    assert json.loads(text)["Verdict"]["Level"] != "wrong"


@pytest.mark.slow
def test_a_homogeneous_ball_has_a_flat_map(tmp_path, shared_data):
    raw = _single_echo(
        tmp_path / "raw",
        shared_data / "vendor_fieldmaps",
        "Si_2_gre_field_magph_e2",
        "Si_3_gre_field_magph_e2_ph",
        Units="arbitrary",
    )
    result = _run(raw, tmp_path / "out", "--mask-method", "robust")
    assert result.exit_code == 0, result.output
    chi, _ = _map(tmp_path / "out")
    field = nib.load(next((tmp_path / "out").rglob("*desc-total_fieldmap.nii.gz"))).get_fdata()
    inside = (chi != 0) & (field != 0)
    assert chi[inside].std() < 0.02
    assert np.ptp(np.percentile(field[inside], (2, 98))) > 20  # Hz: there was a field to remove


def test_ge_field_map_is_refused(tmp_path, shared_data):
    raw = _single_echo(
        tmp_path / "raw",
        shared_data / "vendor_fieldmaps",
        "GE_6_CV_Neuro_HH_Adv",
        "GE_6_CV_Neuro_HH_Adv_fieldmaphz",
    )
    result = _run(raw, tmp_path / "out")
    assert result.exit_code == 65
    assert "this is a field map made by the scanner and not phase" in result.output
    assert not list((tmp_path / "out").rglob("*Chimap*"))


def test_real_phase_with_nan_in_one_4d_file(tmp_path, shared_data):
    root = make_dataset(tmp_path / "raw")
    image = nib.load(shared_data / "gre_crop" / "phase_with_nan.nii.gz")
    values = image.get_fdata(dtype=np.float32)
    size = nib.Nifti1Image(np.ones_like(values), image.affine, image.header)
    for part, stored in (("mag", size), ("phase", image)):
        sidecar = {"EchoTime": [0.004, 0.008], "MagneticFieldStrength": 7}
        if part == "phase":
            sidecar["Units"] = "rad"
        place_image(root, f"part-{part}_T2starw", stored, sidecar)
    (run,) = collect_runs(index(root)).runs
    loaded = load_run(run)
    bad = ~np.isfinite(values).all(axis=3)
    assert bad.any()
    assert np.isfinite(loaded.phase_rad).all()
    assert not loaded.valid_mask[bad].any()
    assert not loaded.phase_rad[:, bad].any()
    assert "wrapped to -pi..pi" in loaded.inferred["phase_scaling"]
    assert "are not finite" in loaded.inferred["invalid_voxels"]


@pytest.fixture
def philips(tmp_path, shared_data):
    """Return a data set with the head at 3 mm, whose phase hangs together in the air too."""
    root = make_dataset(tmp_path / "raw")
    for echo, time in enumerate((0.0023, 0.0046), 1):
        for part, ending in (("mag", ""), ("phase", "_ph")):
            sidecar = {"EchoTime": time, "MagneticFieldStrength": 3}
            if part == "phase":
                sidecar["Units"] = "rad"
            image = shared_data / "philips_two_echo" / f"echo-{echo}{ending}.nii.gz"
            place_image(root, f"echo-{echo}_part-{part}_MEGRE", image, sidecar)
    return root


def test_phase_that_is_smooth_in_the_air_says_nothing_of_its_place(philips):
    (run,) = collect_runs(index(philips)).runs
    scan = load_run(run)
    for phase, magnitude in zip(scan.phase_rad, scan.magnitude, strict=True):
        assert pairing(torch.as_tensor(phase), torch.as_tensor(magnitude), scan.grid) is None


@pytest.mark.slow
def test_a_sound_mask_of_a_real_head_is_not_blamed(philips, tmp_path):
    result = _run(philips, tmp_path / "out")
    assert result.exit_code == 0, result.output
    text = (tmp_path / "out/sub-01/anat/sub-01_desc-qc_Chimap.json").read_text()
    verdict, metrics = (json.loads(text)[key] for key in ("Verdict", "Metrics"))
    assert metrics["tissue_beside_percent"]["Value"] < 2
    assert metrics["phase_pairing"]["Value"] is None
    assert verdict["Level"] != "wrong"
