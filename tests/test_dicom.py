"""From DICOM to the map and back, by the files that ship and the tools that others use."""

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

from qsm_pipeline.bids.collect import collect_runs
from qsm_pipeline.bids.layout import index
from qsm_pipeline.bids.load import load_run

pydicom = pytest.importorskip("pydicom")
import dicom_series  # noqa: E402

FOLDER = commands.ROOT / "workflows" / "dicom"
SCRIPT = FOLDER / "map_to_dicom.py"
TIMES, VOXEL_MM, SHAPE = (0.004, 0.009, 0.014), (2.0, 2.5, 3.0), (12, 14, 10)


def _signal():
    x, y, z = np.meshgrid(*(np.arange(n) / n for n in SHAPE), indexing="ij")
    hz = 20 * x - 35 * y + 50 * z
    phase = np.angle(np.exp(2j * np.pi * np.stack([hz * t for t in TIMES])))
    return phase, np.stack([(1 + x) * np.exp(-20 * t) for t in TIMES])


def _tool(name):
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    return found or pytest.skip(f"{name} is not installed")


def _run(*words):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PATH": path},
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("maker", dicom_series.KINDS)
def test_a_scan_of_each_maker_is_read_as_it_was_made(maker, tmp_path):
    _tool("dcm2niix")
    phase, magnitude = _signal()
    dicom_series.write_series(tmp_path / "dicom", maker, phase, magnitude, TIMES, VOXEL_MM)
    raw = tmp_path / "raw"
    raw.mkdir()
    settings = FOLDER / "dcm2bids.json"
    _run(_tool("dcm2bids"), "-d", tmp_path / "dicom", "-p", "01", "-c", settings, "-o", raw)
    description = {"Name": "simulated", "BIDSVersion": "1.10.0"}
    (raw / "dataset_description.json").write_text(json.dumps(description))
    found = collect_runs(index(raw))
    assert not found.skipped
    (run,) = found.runs
    scan = load_run(run)
    assert scan.echo_times_s == pytest.approx(TIMES)
    assert scan.b0_tesla == 3
    assert np.diag(scan.affine)[:3] == pytest.approx(VOXEL_MM)
    expected = phase[:, ::-1, ::-1]  # DICOM counts to the left and the back, this affine does not
    assert np.abs(np.angle(np.exp(1j * (scan.phase_rad - expected)))).max() < 0.01


def _first_echo(folder, maker):
    """Write the magnitude of the first echo; return its folder."""
    dicom_series.write_series(folder / "all", maker, *_signal(), TIMES, VOXEL_MM)
    series = folder / "magnitude"
    series.mkdir()
    for path in (folder / "all").glob("mag-0-*.dcm"):
        shutil.copy(path, series)
    return series


def test_a_map_returns_to_its_series(tmp_path):
    series = _first_echo(tmp_path, "Siemens")
    _run(_tool("dcm2niix"), "-z", "y", "-f", "magnitude", "-o", tmp_path, series)
    like = nib.load(next(tmp_path.glob("magnitude*.nii.gz")))
    chi_ppm = np.random.default_rng(0).normal(0, 0.1, like.shape).astype(np.float32)
    chi_ppm[3, 4, 5] = -2.5
    nib.save(nib.Nifti1Image(chi_ppm, like.affine), tmp_path / "chi.nii.gz")
    _run(sys.executable, SCRIPT, tmp_path / "chi.nii.gz", series, tmp_path / "qsm")
    images = [pydicom.dcmread(path) for path in sorted((tmp_path / "qsm").iterdir())]
    sources = [pydicom.dcmread(path) for path in sorted(series.iterdir())]
    assert len(images) == SHAPE[2]
    assert len({i.SOPInstanceUID for i in images} | {s.SOPInstanceUID for s in sources}) == 20
    for image, source in zip(images, sources, strict=True):
        assert image.StudyInstanceUID == source.StudyInstanceUID
        assert image.SeriesInstanceUID == images[0].SeriesInstanceUID != source.SeriesInstanceUID
        assert image.ImagePositionPatient == source.ImagePositionPatient
        assert image.RescaleType == "ppb"
    (tmp_path / "back").mkdir()
    _run(_tool("dcm2niix"), "-z", "y", "-f", "chi", "-o", tmp_path / "back", tmp_path / "qsm")
    back = nib.load(next((tmp_path / "back").glob("*.nii.gz")))
    assert back.affine == pytest.approx(like.affine, abs=1e-3)
    assert back.get_fdata() == pytest.approx(1000 * chi_ppm, abs=0.06)


def _without_errors(folder):
    for path in folder.iterdir():
        done = subprocess.run(
            [_tool("dciodvfy"), str(path)], capture_output=True, text=True, check=False
        )
        said = done.stdout + done.stderr
        assert said.startswith("MRImage")
        assert not [line for line in said.splitlines() if line.startswith("Error")], said


@pytest.mark.parametrize("maker", ["Siemens", "Philips"])
def test_a_validator_of_dicom_finds_no_error_in_a_map(maker, tmp_path):
    _tool("dciodvfy")
    series = _first_echo(tmp_path, maker)
    _without_errors(series)
    affine = np.diag([-VOXEL_MM[0], -VOXEL_MM[1], VOXEL_MM[2], 1.0])
    affine[:2, 3] = VOXEL_MM[0] * SHAPE[0] / 2, VOXEL_MM[1] * SHAPE[1] / 2
    chi = nib.Nifti1Image(np.full(SHAPE, 0.1, np.float32), affine)
    nib.save(chi, tmp_path / "chi.nii.gz")
    _run(sys.executable, SCRIPT, tmp_path / "chi.nii.gz", series, tmp_path / "qsm")
    _without_errors(tmp_path / "qsm")


def _of_another_grid(series):
    """Leave the series as it is: its voxels are not those of the map."""


def _no_dicom(series):
    (series / "notes.txt").write_text("not an image")


def _many_frames(series):
    for path in series.iterdir():
        image = pydicom.dcmread(path)
        del image.ImageOrientationPatient, image.ImagePositionPatient, image.PixelSpacing
        image.save_as(path)


def _two_echoes(series):
    shutil.copy(series.parent / "all" / "mag-1-000.dcm", series)


def _nothing(series):
    for path in series.iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_of_another_grid, "the voxels of the map are not those of the series"),
        (_no_dicom, "notes.txt is no DICOM image"),
        (_many_frames, "has no ImageOrientationPatient: images of a single frame are needed"),
        (_two_echoes, "must hold the images of one echo"),
        (_nothing, "must hold the images of one echo"),
    ],
)
def test_a_series_that_does_not_fit_is_refused(spoil, message, tmp_path):
    series = _first_echo(tmp_path, "Siemens")
    spoil(series)
    chi = nib.Nifti1Image(np.zeros(SHAPE, np.float32), np.diag([2.0, 2.6, 3.0, 1.0]))
    nib.save(chi, tmp_path / "chi.nii.gz")
    words = [sys.executable, SCRIPT, tmp_path / "chi.nii.gz", series, tmp_path / "out"]
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
