"""The whole command with its defaults, on a sound participant and a broken one, and the group."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import commands
import nibabel as nib
import numpy as np
import pytest

from qsm_pipeline.bids.derivatives import KEYS, write_json
from qsm_pipeline.bids.simulated_dataset import write_simulated_dataset
from qsm_pipeline.numerics.simulate.tissues import LABELS

pytestmark = pytest.mark.command

NUCLEI = {name: LABELS[name] for name in ("caudate", "putamen", "pallidum", "thalamus")}
NAME = "sub-01/ses-a/anat/sub-01_ses-a"
VALIDATOR = Path(sys.executable).with_name("bids-validator-deno")


def _write_segmentation(folder, scan, affine):
    """Write a segmentation in the space of the run, with a left and a right side."""
    labels = np.where(np.isin(scan.labels, list(NUCLEI.values())), scan.labels, 0).astype(np.uint8)
    voxels = np.moveaxis(np.indices(labels.shape), 0, -1)
    x = nib.affines.apply_affine(affine, voxels)[..., 0]
    labels[(labels > 0) & (x > 0)] += 100
    image = folder / f"{NAME}_seg-nuclei_dseg.nii.gz"
    image.parent.mkdir(parents=True)
    nib.save(nib.Nifti1Image(labels, affine), image)
    names = [
        f"{n + side}\t{name}-{'right' if side else 'left'}"
        for name, n in NUCLEI.items()
        for side in (0, 100)
    ]
    (folder / f"{NAME}_seg-nuclei_dseg.tsv").write_text("\n".join(["index\tname", *names]))
    write_json(folder / "dataset_description.json", {"Name": "x", "BIDSVersion": "1.10.0"})
    return labels


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    """Return truth, labels, output and what the levels participant and group said."""
    root = tmp_path_factory.mktemp("mapped")
    raw, out = root / "raw", root / "out"
    (scan,) = write_simulated_dataset(
        raw,
        shape=(76, 92, 56),
        voxel_size_mm=(2.4, 2.4, 2.8),
        tilt_deg=15,
        session="a",
    )
    anat = raw / "sub-02/ses-a/anat"
    anat.mkdir(parents=True)
    for path in (raw / "sub-01/ses-a/anat").iterdir():
        shutil.copy(path, anat / path.name.replace("sub-01", "sub-02"))
    broken = next(anat.glob("*echo-3_part-phase*.nii.gz"))
    broken.write_bytes(broken.read_bytes()[:2000])
    affine = nib.load(next((raw / "sub-01").rglob("*phase*.nii.gz"))).affine
    labels = _write_segmentation(root / "seg", scan, affine)
    config = root / "config.toml"
    config.write_text("derive = true\n[quality_limits]\nmax_rim_ratio = 0.01\n")
    options = ("--skip-bids-validation", "--nprocs", "2", "--omp-nthreads", "1")
    options += ("--config-file", config, "-d", root / "seg")
    participants = commands.call(raw, out, "participant", *options)
    return scan, labels, out, participants, commands.call(raw, out, "group")


def test_the_sound_participant_is_mapped_and_the_broken_one_named(mapped):
    scan, _, out, result, _ = mapped
    assert result.exit_code == 1, result.output
    assert "done sub-01_ses-a" in result.lines
    (failed,) = (line for line in result.lines if line.startswith("FAILED"))
    assert "echo-3_part-phase" in failed
    chi = nib.load(out / f"{NAME}_Chimap.nii.gz").get_fdata()
    brain = scan.brain.numpy()
    found = nib.load(out / f"{NAME}_desc-brain_mask.nii.gz").get_fdata() > 0
    assert 2 * (found & brain).sum() / (found.sum() + brain.sum()) > 0.9
    inside = brain & (chi != 0)
    assert inside.sum() > 0.9 * brain.sum()
    assert inside.sum() > 0.9 * (chi != 0).sum()
    assert np.corrcoef(chi[inside], scan.chi_ppm.numpy()[inside])[0, 1] > 0.7
    sidecar = json.loads((out / f"{NAME}_Chimap.json").read_text())
    assert sidecar["Units"] == "ppm"
    assert sidecar["SusceptibilityReference"] == "brain"
    assert sidecar["Parameters"]["Inversion"] == "cycleqsm"
    assert sidecar["Findings"]["BrainMask"] == "deepbet"
    own = {"Description", "Sources", "Units", "Type", "SkullStripped", "SpatialReference", *KEYS}
    for image in [*out.glob("sub-01/**/anat/*map.nii.gz"), *out.glob("sub-01/**/fmap/*.nii.gz")]:
        assert set(json.loads(image.with_suffix("").with_suffix(".json").read_text())) <= own
    assert "echo-3_part-phase" in (out / "sub-02.html").read_text()
    assert "data:image/webp" in (out / "sub-01.html").read_text()
    assert not list(out.glob("sub-02/**/*_Chimap*"))


def test_the_validator_finds_neither_error_nor_warning(mapped):
    if not VALIDATOR.exists():
        pytest.skip("bids-validator-deno is not installed beside this Python")
    check = subprocess.run(
        [str(VALIDATOR), str(mapped[2]), "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
    )
    issues = json.loads(check.stdout)["issues"]["issues"]
    assert check.returncode == 0
    assert [i for i in issues if i["severity"] in ("error", "warning")] == []


def test_every_metric_is_there_and_a_limit_of_the_user_warns(mapped):
    _, _, out, *_ = mapped
    metrics = json.loads((out / f"{NAME}_desc-qc_Chimap.json").read_text())["Metrics"]
    assert all(metric["Value"] is not None for metric in metrics.values())
    assert metrics["rim_ratio"]["Maximum"] == 0.01
    assert "expected at most 0.01" in metrics["rim_ratio"]["Warning"]
    assert metrics["snr_echo_1"]["Value"] > metrics["snr_echo_5"]["Value"] > 10
    assert metrics["unwrapping_incongruence_rad"]["Value"] < 1e-4  # ROMEO is exact
    assert 0 < metrics["inversion_residual_percent"]["Value"] < 100


def test_weighted_images_darken_veins_and_say_how_they_were_made(mapped):
    scan, _, out, *_ = mapped
    images = {
        name: nib.load(out / f"{NAME}_desc-{name}_T2starw.nii.gz").get_fdata()
        for name in ("swi", "tswi", "minip")
    }
    chi = nib.load(out / f"{NAME}_Chimap.nii.gz").get_fdata()
    vein = (scan.labels.numpy() == LABELS["vein"]) & (chi > 0.1)
    white = (scan.labels.numpy() == LABELS["white matter"]) & (chi < 0) & (chi != 0)
    echo = scan.magnitude[3].numpy()  # 20 ms is nearest to the fourth echo
    meta = json.loads((out / f"{NAME}_desc-tswi_T2starw.json").read_text())
    assert meta["WeightingEchoTime"] == meta["EchoTimes"][3]
    scale = np.median(images["tswi"][white] / echo[white])
    assert np.median(images["tswi"][vein] / echo[vein]) < 0.7 * scale
    expected = echo[white] * scale  # stored as whole numbers
    assert images["tswi"][white] == pytest.approx(expected, rel=0.02, abs=1)
    assert (images["minip"] <= images["swi"] + 1e-6).all()
    assert images["minip"].sum() < 0.9 * images["swi"].sum()


def test_regional_values_agree_with_the_truth_and_tell_the_sides_apart(mapped):
    scan, labels, out, *_ = mapped
    chi = nib.load(out / f"{NAME}_Chimap.nii.gz").get_fdata()
    brain = scan.brain.numpy() & (chi != 0)
    truth = scan.chi_ppm.numpy() - scan.chi_ppm.numpy()[brain].mean()
    with open(out / f"{NAME}_seg-nuclei_desc-chi_dseg.tsv") as file:
        rows = {row["name"]: row for row in csv.DictReader(file, delimiter="\t")}
    assert set(rows) == {f"{name}-{side}" for name in NUCLEI for side in ("left", "right")}
    error_ppm = float((chi - truth)[brain].std())
    for row in rows.values():
        inside = (labels == int(row["index"])) & (chi != 0)
        assert int(row["n_voxels"]) == inside.sum() > 20
        assert float(row["mean_ppm"]) == pytest.approx(chi[inside].mean(), abs=1e-5)
        assert abs(float(row["mean_ppm"]) - truth[inside].mean()) < error_ppm
        assert row["hemisphere"] in row["name"]


def test_the_group_has_the_same_numbers(mapped):
    _, _, out, _, result = mapped
    assert "1 row(s) in" in result.output
    with open(out / "group_regions.tsv") as file:
        group = {row["name"]: row["mean_ppm"] for row in csv.DictReader(file, delimiter="\t")}
    with open(out / f"{NAME}_seg-nuclei_desc-chi_dseg.tsv") as file:
        one = {row["name"]: row["mean_ppm"] for row in csv.DictReader(file, delimiter="\t")}
    assert group == one


def test_dry_run_of_a_valid_data_set_lists_and_writes_nothing(finished, tmp_path):
    result = commands.call(finished[0], tmp_path / "out", "participant", "--dry-run")
    assert result.exit_code == 0
    assert "would run sub-01: 3 echo(es), 3 T" in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{raw}", "{raw}/out", "participant"], "lies in the raw data set"),
        (["{tmp}", "{tmp}/out", "participant"], "dataset_description.json"),
        (["{raw}", "{tmp}/out", "participant", "--participant-label", "77"], "77"),
        (["{raw}", "{tmp}/out", "participant", "--inversion", "magic"], "magic"),
        (["{raw}", "{tmp}/out", "participant", "--config-file", "{tmp}/bad.toml"], "inverson"),
        (["{raw}", "{tmp}/out", "participant", "--config-file", "{tmp}/p.toml"], "threshold"),
    ],
)
def test_wrong_calls_end_in_one_sentence(finished, tmp_path, arguments, words):
    (tmp_path / "bad.toml").write_text('inverson = "tkd"\n')
    (tmp_path / "p.toml").write_text('inversion = "tkd"\n[inversion_params]\nthreshold = 7.0\n')
    filled = [a.format(raw=finished[0], tmp=tmp_path) for a in arguments]
    result = commands.call(*filled, "--skip-bids-validation")
    assert result.exit_code != 0
    assert words in result.output
    assert "Traceback" not in result.output


def test_invalid_bids_is_refused_without_the_environment_on_the_path(
    finished, tmp_path, monkeypatch
):
    if not VALIDATOR.exists():
        pytest.skip("bids-validator-deno is not installed beside this Python")
    raw = tmp_path / "raw"
    shutil.copytree(finished[0], raw)
    (raw / "sub-01" / "nonsense.txt").write_text("not BIDS")
    monkeypatch.setenv("PATH", os.defpath)
    result = commands.call(raw, tmp_path / "out", "participant")
    assert result.exit_code == 16
    assert "is not valid BIDS" in result.output
    assert not (tmp_path / "out").exists()
