"""The whole command on simulated participants, good and bad."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner

from qsm_pipeline.bids.simulated_dataset import write_simulated_dataset
from qsm_pipeline.cli.main import main

SHAPE, VOXEL = (76, 92, 68), (2.4, 2.4, 2.4)
FAST = ["--skip-bids-validation", "--mask-method", "robust"]
FAST += ["--nprocs", "2", "--omp-nthreads", "1"]


@pytest.fixture(scope="session")
def simulated(tmp_path_factory):
    root = tmp_path_factory.mktemp("simulated")
    scans = write_simulated_dataset(
        root / "raw", subjects=2, shape=SHAPE, voxel_size_mm=VOXEL, tilt_deg=15, session="a"
    )
    masks = root / "masks"
    masks.mkdir()
    for number, scan in enumerate(scans, 1):
        reference = nib.load(next((root / "raw" / f"sub-{number:02d}").rglob("*phase*.nii.gz")))
        mask = nib.Nifti1Image(scan.brain.numpy().astype(np.uint8), reference.affine)
        nib.save(mask, masks / f"sub-{number:02d}_ses-a_mask.nii.gz")
    return root, scans


def _run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.mark.slow
def test_two_participants_of_whom_one_is_broken(simulated, tmp_path):
    root, scans = simulated
    raw = tmp_path / "raw"
    shutil.copytree(root / "raw", raw)
    broken = next((raw / "sub-02").rglob("*echo-3_part-phase*.nii.gz"))
    broken.write_bytes(broken.read_bytes()[:2000])
    out = tmp_path / "out"
    pattern = f"{root}/masks/{{prefix}}_mask.nii.gz"
    options = (*FAST, "--mask-pattern", pattern, "-w", tmp_path / "w", "--keep-work")
    result = _run(raw, out, "participant", *options)
    assert result.exit_code == 1, result.output
    assert "done sub-01_ses-a" in result.output
    failed = [line for line in result.output.splitlines() if line.startswith("FAILED")]
    assert len(failed) == 1
    assert "echo-3_part-phase" in failed[0]
    chi = nib.load(out / "sub-01/ses-a/anat/sub-01_ses-a_Chimap.nii.gz")
    truth, brain = scans[0].chi_ppm.numpy(), scans[0].brain.numpy()
    values = chi.get_fdata()
    assert np.corrcoef(values[brain], truth[brain])[0, 1] > 0.75
    assert (values[brain] != 0).mean() > 0.95
    sidecar = json.loads((out / "sub-01/ses-a/anat/sub-01_ses-a_Chimap.json").read_text())
    assert sidecar["Units"] == "ppm"
    assert sidecar["SusceptibilityReference"] == "brain"
    assert sidecar["Parameters"]["Inversion"] == "cycleqsm"
    assert "echo-3_part-phase" in (out / "sub-02.html").read_text()
    assert "data:image/webp" in (out / "sub-01.html").read_text()
    assert not list(out.glob("sub-02/**/*_Chimap*"))
    validator = shutil.which("bids-validator-deno") or Path(sys.executable).with_name(
        "bids-validator-deno"
    )
    if Path(validator).exists():
        check = subprocess.run(
            [str(validator), str(out), "--format", "json"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        issues = json.loads(check.stdout)["issues"]["issues"]
        assert check.returncode == 0
        assert [i for i in issues if i["severity"] in ("error", "warning")] == []
    # the finished participant is resumed, not computed again
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "w").rglob("sub_01*/invert/chi.nii")}
    assert before
    _run(raw, out, "participant", *options)
    assert before == {p: p.stat().st_mtime_ns for p in before}


def test_dry_run_lists_and_writes_nothing(simulated, tmp_path):
    root, _ = simulated
    result = _run(root / "raw", tmp_path / "out", "participant", "--dry-run")
    assert result.exit_code == 0
    assert "would run sub-01_ses-a: 5 echo(es), 3 T" in result.output
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
def test_wrong_calls_end_in_one_sentence(simulated, tmp_path, arguments, words):
    root, _ = simulated
    (tmp_path / "bad.toml").write_text('inverson = "tkd"\n')
    (tmp_path / "p.toml").write_text('inversion = "tkd"\n[inversion_params]\nthreshold = 7.0\n')
    filled = [a.format(raw=root / "raw", tmp=tmp_path) for a in arguments]
    result = _run(*filled, "--skip-bids-validation")
    assert result.exit_code != 0
    assert words in result.output
    assert "Traceback" not in result.output


def test_invalid_bids_is_refused_without_the_environment_on_the_path(
    simulated, tmp_path, monkeypatch
):
    if not Path(sys.executable).with_name("bids-validator-deno").exists():
        pytest.skip("bids-validator-deno is not installed beside this Python")
    raw = tmp_path / "raw"
    shutil.copytree(simulated[0] / "raw", raw)
    (raw / "sub-01" / "nonsense.txt").write_text("not BIDS")
    monkeypatch.setenv("PATH", os.defpath)
    result = _run(raw, tmp_path / "out", "participant")
    assert result.exit_code == 2
    assert "is not valid BIDS" in result.output
    assert not (tmp_path / "out").exists()
