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


def test_a_map_returns_to_its_series(tmp_path):
    phase, magnitude = _signal()
    dicom_series.write_series(tmp_path / "all", "Siemens", phase, magnitude, TIMES, VOXEL_MM)
    series = tmp_path / "magnitude"
    series.mkdir()
    for path in (tmp_path / "all").glob("mag-0-*.dcm"):
        shutil.copy(path, series)
    _run(_tool("dcm2niix"), "-z", "y", "-f", "magnitude", "-o", tmp_path, series)
    like = nib.load(next(tmp_path.glob("magnitude*.nii.gz")))
    chi_ppm = np.random.default_rng(0).normal(0, 0.1, like.shape).astype(np.float32)
    chi_ppm[3, 4, 5] = -2.5
    nib.save(nib.Nifti1Image(chi_ppm, like.affine), tmp_path / "chi.nii.gz")
    script = FOLDER / "map_to_dicom.py"
    _run(sys.executable, script, tmp_path / "chi.nii.gz", series, tmp_path / "qsm")
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


def test_a_map_of_another_grid_is_refused(tmp_path):
    phase, magnitude = _signal()
    dicom_series.write_series(tmp_path / "all", "Siemens", phase, magnitude, TIMES, VOXEL_MM)
    chi = nib.Nifti1Image(np.zeros(SHAPE, np.float32), np.diag([2.0, 2.6, 3.0, 1.0]))
    nib.save(chi, tmp_path / "chi.nii.gz")
    words = [sys.executable, FOLDER / "map_to_dicom.py", tmp_path / "chi.nii.gz"]
    for path in (tmp_path / "all").iterdir():
        if not path.name.startswith("mag-0-"):
            path.unlink()
    done = subprocess.run(
        [str(w) for w in (*words, tmp_path / "all", tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "the voxels of the map are not those of the series" in done.stderr
    assert not (tmp_path / "out").exists()
