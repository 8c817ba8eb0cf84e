"""The step that corrects the phase: what it finds out for itself, and says."""

import numpy as np
import pytest

from qsm_pipeline.bids.simulated_dataset import tilted_affine
from qsm_pipeline.numerics.simulate import simulate_scan
from qsm_pipeline.numerics.simulate.signal import ScanParams
from qsm_pipeline.steps.phase import correct_phase
from qsm_pipeline.steps.scan import Scan

SHAPE, VOXEL = (48, 58, 40), (3.6, 3.6, 3.8)


def _corrected(alternating_rad, times=(0.005, 0.010, 0.015), readout="unknown"):
    affine = tilted_affine(SHAPE, VOXEL, 20)
    params = ScanParams(echo_times_s=times, alternating_rad=alternating_rad)
    made = simulate_scan(SHAPE, affine, params)
    scan = Scan(made.phase_rad, made.magnitude, times, 3.0, affine, readout)
    corrected = correct_phase(scan, made.brain)
    return corrected.phase_rad[:, made.brain].numpy(), corrected.provenance.facts


@pytest.mark.parametrize("alternating_rad", [0.0, 2.0])
def test_a_bipolar_readout_that_no_sidecar_names_is_found(alternating_rad):
    found, facts = _corrected(alternating_rad)
    bipolar = alternating_rad > 0
    assert facts["BipolarCorrection"] is bipolar
    assert ("BipolarReadout" in facts) is bipolar
    assert (facts["BipolarPhaseSpreadRad"] > 0.05) is bipolar
    named = "bipolar" if bipolar else "monopolar"
    declared, facts = _corrected(alternating_rad, readout=named)
    np.testing.assert_allclose(found, declared, atol=1e-4)  # FFTs round as memory is aligned
    assert facts["BipolarCorrection"] is bipolar
    assert "BipolarReadout" not in facts


def test_a_monopolar_readout_is_believed():
    _, facts = _corrected(2.0, readout="monopolar")
    assert facts["BipolarCorrection"] is False


@pytest.mark.parametrize("times", [(0.005,), (0.005, 0.010), (0.005, 0.010, 0.017)])
def test_what_cannot_be_looked_for_is_left(times):
    _, facts = _corrected(0.0, times)
    assert facts["BipolarCorrection"] is False
    assert "BipolarPhaseSpreadRad" not in facts
    assert facts["PhaseOffsetRemoval"].startswith("none") is (len(times) == 1)
