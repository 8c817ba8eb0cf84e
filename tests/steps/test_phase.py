"""The step that corrects the phase: what it finds out for itself, and says."""

import numpy as np
import pytest
import torch

from qsm_pipeline.bids.simulated_dataset import tilted_affine
from qsm_pipeline.numerics.phase.offset import wrap
from qsm_pipeline.numerics.simulate import simulate_scan
from qsm_pipeline.numerics.simulate.signal import ScanParams
from qsm_pipeline.steps.phase import correct_phase
from qsm_pipeline.steps.scan import Scan

SHAPE, VOXEL = (48, 58, 40), (3.6, 3.6, 3.8)


AFFINE = tilted_affine(SHAPE, VOXEL, 20)
TIMES = (0.005, 0.010, 0.015, 0.020, 0.025)


@pytest.fixture(scope="module")
def five_echoes():
    """Return the scan of a monopolar readout, and that of a bipolar one, of the same head."""
    return {
        alternating: simulate_scan(
            SHAPE, AFFINE, ScanParams(echo_times_s=TIMES, alternating_rad=alternating)
        )
        for alternating in (0.0, 2.5)
    }


@pytest.fixture(scope="module")
def plain(five_echoes):
    """Return the corrected phase of the monopolar readout."""
    return _correct(five_echoes[0.0])


def _correct(made, phase=None, keep=range(5), times=TIMES, readout="unknown", numbers=None):
    keep = list(keep)
    phase = made.phase_rad if phase is None else wrap(phase)
    scan = Scan(
        phase[keep],
        made.magnitude[keep],
        tuple(times[e] for e in keep),
        3.0,
        AFFINE,
        readout,
        numbers,
    )
    return correct_phase(scan, made.brain)


@pytest.mark.parametrize("alternating_rad", [0.0, 2.5])
def test_a_bipolar_readout_that_no_sidecar_names_is_found(five_echoes, alternating_rad):
    made = five_echoes[alternating_rad]

    def corrected(readout):
        step = _correct(made, keep=range(3), readout=readout)
        return step.phase_rad[:, made.brain].numpy(), step.provenance.facts

    found, facts = corrected("unknown")
    bipolar = alternating_rad > 0
    assert facts["BipolarCorrection"] is bipolar
    assert ("BipolarReadout" in facts) is bipolar
    assert (facts["BipolarPhaseSpreadRad"] > 0.05) is bipolar
    named = "bipolar" if bipolar else "monopolar"
    declared, facts = corrected(named)
    np.testing.assert_allclose(found, declared, atol=1e-4)  # FFTs round as memory is aligned
    assert facts["BipolarCorrection"] is bipolar
    assert "BipolarReadout" not in facts


def test_a_monopolar_readout_is_believed(five_echoes):
    step = _correct(five_echoes[2.5], keep=range(3), readout="monopolar")
    assert step.provenance.facts["BipolarCorrection"] is False


@pytest.mark.parametrize("echoes", [1, 2])
def test_what_cannot_be_looked_for_is_left(five_echoes, echoes):
    facts = _correct(five_echoes[0.0], keep=range(echoes)).provenance.facts
    assert facts["BipolarCorrection"] is False
    assert "BipolarPhaseSpreadRad" not in facts
    assert facts["PhaseOffsetRemoval"].startswith("none") is (echoes == 1)


def _off(one, other, brain):
    """Return by how much two phases differ in the brain, apart from a field that is constant."""
    difference = wrap(one.phase_rad - other.phase_rad)[:, brain]
    middle = torch.polar(torch.ones_like(difference), difference).sum(1).angle()
    rest = wrap(difference - middle[:, None]).abs()
    return float(rest.median()) + float(rest.mean())


@pytest.mark.parametrize("constants", [(0, 0.3, -0.2, 0.1, 0.4), (1.0, -2.0, 3.0, 0.5, -1.0)])
def test_constants_of_echoes_are_removed_and_said(five_echoes, plain, constants):
    made = five_echoes[0.0]
    shift = torch.tensor(constants)
    shifted = _correct(made, made.phase_rad + shift[:, None, None, None])
    assert "EchoConstantsRad" not in plain.provenance.facts
    assert plain.provenance.warnings == ()
    line = shift[0] + (shift[1] - shift[0]) * torch.arange(5)
    expected = wrap(shift - line)
    found = torch.tensor(shifted.provenance.facts["EchoConstantsRad"])
    assert float(wrap(found - expected).abs().max()) < 0.05
    assert any("constants were removed" in w for w in shifted.provenance.warnings)
    assert _off(shifted, plain, made.brain) < 0.01
    left = wrap(shifted.phase_rad - plain.phase_rad)[:, made.brain]
    per_echo = torch.polar(torch.ones_like(left), left).sum(1).angle()
    assert float(wrap(torch.diff(per_echo, n=2)).abs().max()) < 0.05  # what is left is linear


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("kind", ["random", "interleaved"])
def test_offsets_of_slices_are_removed_in_any_axis(five_echoes, plain, axis, kind):
    made = five_echoes[0.0]
    n = SHAPE[axis]
    offsets = 5 * (torch.rand(n, generator=torch.Generator().manual_seed(axis)) - 0.5)
    if kind == "interleaved":
        offsets = 1.0 * (torch.arange(n) % 2)
    shape = [1, 1, 1]
    shape[axis] = n
    shifted = _correct(made, made.phase_rad + offsets.reshape(shape))
    assert shifted.provenance.facts["SliceOffsetsAxis"] == axis
    assert any("phase offset of its own" in w for w in shifted.provenance.warnings)
    assert "SliceOffsetsAxis" not in plain.provenance.facts
    left = wrap(shifted.phase_rad - plain.phase_rad)[:, made.brain]
    assert float(left.abs().median()) < 0.03


def test_offsets_of_slices_in_a_single_echo(five_echoes):
    made = five_echoes[0.0]
    offsets = 5 * (torch.rand(SHAPE[2], generator=torch.Generator().manual_seed(1)) - 0.5)
    shifted = _correct(made, made.phase_rad + offsets, keep=[3])
    plain = _correct(made, keep=[3])
    assert "SliceOffsetsAxis" not in plain.provenance.facts
    assert shifted.provenance.facts["SliceOffsetsAxis"] == 2
    left = wrap(shifted.phase_rad - plain.phase_rad)[0]
    both = made.brain[..., 1:] & made.brain[..., :-1]
    steps = torch.polar(both.float(), wrap(torch.diff(left, dim=2))).sum((0, 1))
    steps = steps[both.sum((0, 1)) > 200].angle()
    assert float(wrap(torch.diff(steps)).abs().median()) < 0.2
    assert float(wrap(torch.diff(offsets, n=2)).abs().median()) > 1


@pytest.mark.parametrize("keep", [(0, 1, 3), (0, 2, 3), (1, 2, 4), (0, 1, 2, 4), (0, 3, 4)])
def test_a_bipolar_readout_with_echoes_missing(five_echoes, keep):
    numbers = tuple(e + 1 for e in keep)
    plain = _correct(five_echoes[0.0], keep=keep, numbers=numbers)
    for alternating, made in five_echoes.items():
        for readout in ("unknown", "bipolar") if alternating else ("unknown",):
            found = _correct(made, keep=keep, readout=readout, numbers=numbers)
            assert found.provenance.facts["BipolarCorrection"] is (alternating > 0)
            if alternating:
                assert _off(found, plain, made.brain) < 0.15
                said = any("--readout" in w for w in found.provenance.warnings)
                assert said is (readout == "unknown")


def test_echoes_of_one_polarity_have_nothing_to_correct(five_echoes):
    found = _correct(five_echoes[2.5], keep=(0, 2, 4), readout="bipolar", numbers=(1, 3, 5))
    assert found.provenance.facts["BipolarCorrection"] is False
    assert found.provenance.warnings == ()


def test_two_bipolar_echoes_go_on_with_a_warning(five_echoes):
    found = _correct(five_echoes[2.5], keep=(0, 1), readout="bipolar")
    assert found.provenance.facts["BipolarCorrection"] is False
    (warning,) = found.provenance.warnings
    assert "two echoes cannot tell" in warning


@pytest.mark.parametrize("alternating", [0.0, 2.5])
def test_unequal_spacing(alternating):
    times = (0.0047, 0.0091, 0.0152, 0.0213)
    made = simulate_scan(
        SHAPE, AFFINE, ScanParams(echo_times_s=times, alternating_rad=alternating)
    )
    found = _correct(made, keep=range(4), times=times)
    assert found.provenance.facts["BipolarCorrection"] is (alternating > 0)


def _moved(made, echo):
    """Return the phase with one echo of a head that has moved."""
    phase = made.phase_rad.clone()
    voxels = 2 if echo else 5  # the first echo has evolved little
    phase[echo] = made.phase_rad[echo].roll((voxels, voxels), (0, 1)) + 0.4
    return phase


@pytest.mark.parametrize("echo", range(5))
@pytest.mark.parametrize("how", ["moved", "noise", "copied"])
def test_an_echo_that_does_not_fit_is_left_out_as_a_whole(five_echoes, plain, echo, how):
    made = five_echoes[0.0]
    phase = _moved(made, echo)
    if how == "noise":
        noise = torch.rand(made.brain.shape, generator=torch.Generator().manual_seed(echo))
        phase[echo] = 6.28 * noise - 3.14
    elif how == "copied":
        phase[echo] = made.phase_rad[(echo + 2) % 5]
    found = _correct(made, phase)
    assert found.left_out == echo
    assert found.provenance.facts["EchoLeftOut"] == echo + 1
    assert any(f"Echo {echo + 1} does not fit" in w for w in found.provenance.warnings)
    assert "EchoLeftOut" not in plain.provenance.facts
    left = wrap(found.phase_rad[echo] - plain.phase_rad[echo])[made.brain]
    left = wrap(left - torch.polar(torch.ones_like(left), left).sum().angle())
    assert float(left.abs().median()) < 0.1


def test_a_bipolar_readout_is_no_corrupted_echo(five_echoes):
    assert "EchoLeftOut" not in _correct(five_echoes[2.5]).provenance.facts


@pytest.mark.parametrize("reference", ["echo 1", "sidecar"])
def test_phase_that_does_not_begin_at_time_zero_is_found_and_corrected(five_echoes, reference):
    """Phase that was divided by that of another echo, or echo times that are all off."""
    made = five_echoes[0.0]
    if reference == "sidecar":
        times, origin = tuple(t - 0.003 for t in TIMES), -0.003
        found = _correct(made, times=times)
    else:
        times, origin = TIMES, TIMES[0]
        found = _correct(made, made.phase_rad - made.phase_rad[:1], keep=range(1, 5))
    assert found.provenance.facts["PhaseOriginS"] == pytest.approx(origin, abs=0.0005)
    (warning,) = [w for w in found.provenance.warnings if "begins at" in w]
    assert "check EchoTime" in warning.replace("Check", "check")
    # small structures have the phase that the echo times ask for
    plain = _correct(made, keep=range(1, 5) if reference == "echo 1" else range(5))
    assert "PhaseOriginS" not in plain.provenance.facts
    times = times[1:] if reference == "echo 1" else times
    true = TIMES[1:] if reference == "echo 1" else TIMES
    inner = made.brain[:-2] & made.brain[1:-1] & made.brain[2:]

    def bends(corrected, when):
        phase = corrected.phase_rad[2]
        bend = wrap(phase[:-2] - phase[1:-1]) + wrap(phase[2:] - phase[1:-1])
        return bend[inner] / when[2]

    one, other = bends(found, times), bends(plain, true)
    near = (one.abs() < 40) & (other.abs() < 40)
    slope = float((one * other)[near].sum() / other[near].square().sum())
    assert slope == pytest.approx(1, abs=0.1)
