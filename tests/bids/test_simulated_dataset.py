"""Simulated data sets are read back as the scans that they hold, whatever the maker."""

import json
import math

import commands
import nibabel as nib
import numpy as np
import pytest

from qsm_pipeline.bids.collect import collect_runs
from qsm_pipeline.bids.layout import index
from qsm_pipeline.bids.load import load_run
from qsm_pipeline.bids.simulated_dataset import write_simulated_dataset
from qsm_pipeline.bids.vendor_encoding import ENCODERS
from qsm_pipeline.cli import simulate
from qsm_pipeline.numerics.simulate.signal import ScanParams

SMALL = {"shape": (32, 40, 30), "voxel_size_mm": (5.0, 5.0, 6.0), "tilt_deg": 12.0}


def _read_back(root):
    (run,) = collect_runs(index(root)).runs
    return run, load_run(run)


def _largest_error(loaded, scan, echo=0):
    inside = loaded.valid_mask & scan.brain.numpy()
    difference = loaded.phase_rad[echo][inside] - scan.phase_rad[echo].numpy()[inside]
    return np.abs(np.angle(np.exp(1j * difference))).max()


@pytest.mark.parametrize("vendor", ENCODERS)
def test_every_maker_decodes_to_the_same_phase(tmp_path, vendor):
    (scan,) = write_simulated_dataset(tmp_path / "raw", vendor=vendor, **SMALL)
    run, loaded = _read_back(tmp_path / "raw")
    assert run.echo_times_s == ScanParams().echo_times_s
    step = 2 * math.pi / 4096
    assert _largest_error(loaded, scan) < (0.02 if vendor == "ge" else 0.51 * step + 1e-5)
    brain = scan.brain.numpy() & loaded.valid_mask
    ratio = loaded.magnitude[0][brain] / scan.magnitude[0].numpy()[brain]
    assert ratio.std() / ratio.mean() < 0.02
    assert ("slice_sign" in loaded.inferred) == (vendor == "ge")


def test_one_file_of_all_echoes_in_a_session(tmp_path):
    (scan,) = write_simulated_dataset(
        tmp_path / "raw", session="pre", single_file=True, vendor="philips", **SMALL
    )
    assert len(list((tmp_path / "raw" / "sub-01" / "ses-pre" / "anat").glob("*.nii.gz"))) == 2
    run, loaded = _read_back(tmp_path / "raw")
    assert run.prefix == "sub-01_ses-pre"
    assert len(run.echo_times_s) == 5
    assert _largest_error(loaded, scan, echo=4) < 0.001


def test_a_bipolar_readout_says_so(tmp_path):
    write_simulated_dataset(tmp_path / "raw", params=ScanParams(alternating_rad=1.5), **SMALL)
    run, _ = _read_back(tmp_path / "raw")
    assert run.readout == "bipolar"


def test_command_offers_every_encoder():
    assert tuple(ENCODERS) == simulate.VENDORS


def test_the_command_writes_sessions_that_differ_in_noise_and_their_truth(tmp_path):
    raw = tmp_path / "raw"
    shape = ("--shape", 32, 40, 30, "--voxel-size", 5, 5, 6)
    sessions = ("--session", "pre", "--session", "post")
    result = commands.call(raw, *shape, *sessions, "--snr", 60, program=simulate.main)
    assert result.exit_code == 0, result.output
    assert result.lines[1:3] == [
        "progress: simulating sub-01_ses-pre (1 of 2)",
        "progress: simulating sub-01_ses-post (2 of 2)",
    ]
    truth = raw / "derivatives" / "truth"
    chi = [
        nib.load(truth / f"sub-01/ses-{s}/anat/sub-01_ses-{s}_Chimap.nii.gz")
        for s in ("pre", "post")
    ]
    np.testing.assert_array_equal(chi[0].get_fdata(), chi[1].get_fdata())
    assert (chi[0].header["cal_min"], chi[0].header["cal_max"]) == pytest.approx((-0.1, 0.1))
    about = json.loads((truth / "sub-01/ses-pre/anat/sub-01_ses-pre_Chimap.json").read_text())
    assert about["SignConvention"].startswith("positive is paramagnetic")
    assert len(list(truth.glob("sub-01/ses-pre/fmap/*_fieldmap.nii.gz"))) == 2
    found = collect_runs(index(raw))
    assert [run.prefix for run in found.runs] == ["sub-01_ses-post", "sub-01_ses-pre"]
    first, second = (load_run(run).magnitude[0] for run in found.runs)
    assert 0 < np.abs(first - second).mean() < 0.1 * first.mean()
