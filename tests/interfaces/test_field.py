"""The node that corrects the phase: what it finds out for itself, and says."""

import nibabel as nib
import numpy as np
import pytest
from bids_trees import write_image

from qsm_pipeline.bids.simulated_dataset import tilted_affine
from qsm_pipeline.interfaces.field import CorrectPhase
from qsm_pipeline.numerics.simulate import ScanParams, simulate_scan

SHAPE, VOXEL = (48, 58, 40), (3.6, 3.6, 3.8)


def _corrected(folder, alternating_rad, times=(0.005, 0.010, 0.015), readout="unknown"):
    affine = tilted_affine(SHAPE, VOXEL, 20)
    params = ScanParams(echo_times_s=times, alternating_rad=alternating_rad)
    scan = simulate_scan(SHAPE, affine, params)
    arrays = {
        "phase": np.moveaxis(scan.phase_rad.numpy(), 0, -1),
        "magnitude": np.moveaxis(scan.magnitude.numpy(), 0, -1),
        "mask": scan.brain.numpy(),
    }
    folder.mkdir()
    paths = {n: str(write_image(folder / f"{n}.nii", a, affine)) for n, a in arrays.items()}
    interface = CorrectPhase(**paths, echo_times_s=list(times), readout=readout)
    out = interface.run(cwd=str(folder)).outputs
    return np.asarray(nib.load(out.phase).dataobj)[scan.brain.numpy()], out.facts


@pytest.mark.parametrize("alternating_rad", [0.0, 2.0])
def test_a_bipolar_readout_that_no_sidecar_names_is_found(tmp_path, alternating_rad):
    found, facts = _corrected(tmp_path / "unknown", alternating_rad)
    bipolar = alternating_rad > 0
    assert facts["BipolarCorrection"] is bipolar
    assert ("BipolarReadout" in facts) is bipolar
    assert (facts["BipolarPhaseSpreadRad"] > 0.05) is bipolar
    named = "bipolar" if bipolar else "monopolar"
    declared, facts = _corrected(tmp_path / "declared", alternating_rad, readout=named)
    np.testing.assert_allclose(found, declared, atol=1e-4)  # FFTs round as memory is aligned
    assert facts["BipolarCorrection"] is bipolar
    assert "BipolarReadout" not in facts


def test_a_monopolar_readout_is_believed(tmp_path):
    _, facts = _corrected(tmp_path / "a", 2.0, readout="monopolar")
    assert facts["BipolarCorrection"] is False


@pytest.mark.parametrize("times", [(0.005,), (0.005, 0.010), (0.005, 0.010, 0.017)])
def test_what_cannot_be_looked_for_is_left(tmp_path, times):
    _, facts = _corrected(tmp_path / "a", 0.0, times)
    assert facts["BipolarCorrection"] is False
    assert "BipolarPhaseSpreadRad" not in facts
    assert facts["PhaseOffsetRemoval"].startswith("none") is (len(times) == 1)
