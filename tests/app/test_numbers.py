"""Metrics, derived images and regional values of a whole run, and the group made of it."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner

from qsm_pipeline.bids.derivatives import write_json
from qsm_pipeline.bids.simulated_dataset import write_simulated_dataset
from qsm_pipeline.cli.main import main
from qsm_pipeline.numerics.simulate import LABELS

METHODS = ("--skip-bids-validation", "--mask-method", "robust", "--inversion", "tv",
           "--nprocs", "2", "--omp-nthreads", "1")  # fmt: skip
NUCLEI = {name: LABELS[name] for name in ("caudate", "putamen", "pallidum", "thalamus")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return the truth and the output of a participant with a segmentation in its own space."""
    root = tmp_path_factory.mktemp("numbers")
    (scan,) = write_simulated_dataset(
        root / "raw", shape=(76, 92, 56), voxel_size_mm=(2.4, 2.4, 2.8), tilt_deg=10
    )
    image = nib.load(next((root / "raw").rglob("*phase*.nii.gz")))
    labels = np.where(np.isin(scan.labels, list(NUCLEI.values())), scan.labels, 0).astype(np.uint8)
    x = nib.affines.apply_affine(image.affine, np.moveaxis(np.indices(labels.shape), 0, -1))[
        ..., 0
    ]
    labels[(labels > 0) & (x > 0)] += 100
    anat = root / "seg" / "sub-01" / "anat"
    anat.mkdir(parents=True)
    nib.save(nib.Nifti1Image(labels, image.affine), anat / "sub-01_seg-nuclei_dseg.nii.gz")
    names = [f"{n + side}\t{name}-{'right' if side else 'left'}"
             for name, n in NUCLEI.items() for side in (0, 100)]  # fmt: skip
    (anat / "sub-01_seg-nuclei_dseg.tsv").write_text("\n".join(["index\tname", *names]))
    write_json(root / "seg" / "dataset_description.json", {"Name": "x", "BIDSVersion": "1.10.0"})
    config = root / "config.toml"
    config.write_text("derive = true\n[quality_limits]\nmax_rim_ratio = 0.01\n")
    out = root / "out"
    arguments = [str(root / "raw"), str(out), "participant", *METHODS, "--config-file",
                 str(config), "-d", str(root / "seg")]  # fmt: skip
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    result = CliRunner().invoke(main, [str(root / "raw"), str(out), "group"])
    return scan, labels, out, result


def test_every_metric_is_there_and_a_limit_of_the_user_warns(finished):
    _, _, out, _ = finished
    metrics = json.loads((out / "sub-01/anat/sub-01_desc-qc_Chimap.json").read_text())["Metrics"]
    assert all(metric["Value"] is not None for metric in metrics.values())
    assert metrics["rim_ratio"]["Maximum"] == 0.01
    assert "expected at most 0.01" in metrics["rim_ratio"]["Warning"]
    assert metrics["snr_echo_1"]["Value"] > metrics["snr_echo_5"]["Value"] > 10
    assert metrics["unwrapping_incongruence_rad"]["Value"] < 1e-4  # ROMEO is exact
    assert 0 < metrics["inversion_residual_percent"]["Value"] < 100


def test_weighted_images_darken_veins_and_say_how_they_were_made(finished):
    scan, _, out, _ = finished
    images = {
        name: nib.load(out / f"sub-01/anat/sub-01_desc-{name}_T2starw.nii.gz").get_fdata()
        for name in ("swi", "tswi", "minip")
    }
    chi = nib.load(out / "sub-01/anat/sub-01_Chimap.nii.gz").get_fdata()
    vein = (scan.labels.numpy() == LABELS["vein"]) & (chi > 0.1)
    white = (scan.labels.numpy() == LABELS["white matter"]) & (chi < 0) & (chi != 0)
    echo = scan.magnitude[3].numpy()  # 20 ms is nearest to the fourth echo
    meta = json.loads((out / "sub-01/anat/sub-01_desc-tswi_T2starw.json").read_text())
    assert meta["WeightingEchoTime"] == meta["EchoTimes"][3]
    scale = np.median(images["tswi"][white] / echo[white])
    assert np.median(images["tswi"][vein] / echo[vein]) < 0.7 * scale
    expected = echo[white] * scale  # stored as whole numbers
    assert images["tswi"][white] == pytest.approx(expected, rel=0.02, abs=1)
    assert (images["minip"] <= images["swi"] + 1e-6).all()
    assert images["minip"].sum() < 0.9 * images["swi"].sum()


def test_regional_values_agree_with_the_truth_and_tell_the_sides_apart(finished):
    scan, labels, out, _ = finished
    chi = nib.load(out / "sub-01/anat/sub-01_Chimap.nii.gz").get_fdata()
    brain = scan.brain.numpy() & (chi != 0)
    truth = scan.chi_ppm.numpy() - scan.chi_ppm.numpy()[brain].mean()
    with open(out / "sub-01/anat/sub-01_seg-nuclei_desc-chi_dseg.tsv") as file:
        rows = {row["name"]: row for row in csv.DictReader(file, delimiter="\t")}
    assert set(rows) == {f"{name}-{side}" for name in NUCLEI for side in ("left", "right")}
    error_ppm = float((chi - truth)[brain].std())
    for row in rows.values():
        inside = (labels == int(row["index"])) & (chi != 0)
        assert int(row["n_voxels"]) == inside.sum() > 20
        assert float(row["mean_ppm"]) == pytest.approx(chi[inside].mean(), abs=1e-5)
        assert abs(float(row["mean_ppm"]) - truth[inside].mean()) < error_ppm
        assert row["hemisphere"] in row["name"]


def test_the_group_has_the_same_numbers(finished):
    _, _, out, result = finished
    assert "1 row(s) in" in result.output
    with open(out / "group_regions.tsv") as file:
        group = {row["name"]: row["mean_ppm"] for row in csv.DictReader(file, delimiter="\t")}
    with open(out / "sub-01/anat/sub-01_seg-nuclei_desc-chi_dseg.tsv") as file:
        one = {row["name"]: row["mean_ppm"] for row in csv.DictReader(file, delimiter="\t")}
    assert group == one


def test_the_validator_finds_neither_error_nor_warning(finished):
    validator = shutil.which("bids-validator-deno") or str(
        Path(sys.executable).with_name("bids-validator-deno")
    )
    if not Path(validator).exists():
        pytest.skip("bids-validator-deno is not installed beside this Python")
    check = subprocess.run(
        [validator, str(finished[2]), "--format", "json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    issues = json.loads(check.stdout)["issues"]["issues"]
    assert [i for i in issues if i["severity"] in ("error", "warning")] == []
