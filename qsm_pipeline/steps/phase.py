"""Remove from the phase what is not the field: the phase offset and that of a bipolar readout."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from qsm_pipeline.numerics.core.bounding_box import BoundingBox
from qsm_pipeline.numerics.core.contracts import check_mask
from qsm_pipeline.numerics.core.head_size import head_sized
from qsm_pipeline.numerics.core.units import rad_per_s_per_ppm
from qsm_pipeline.numerics.field.corrupted import corrupted_echo
from qsm_pipeline.numerics.field.fit import weighted_field_fit
from qsm_pipeline.numerics.params.phase import PhaseOffsetParams
from qsm_pipeline.numerics.phase.bipolar import (
    FOUND_RAD,
    alternating_phase,
    bipolar_score,
    can_be_looked_for,
    polarities,
    remove_alternating_phase,
    spread_seen_coarsely,
)
from qsm_pipeline.numerics.phase.constants import SAME_RAD, echo_constants_rad, slice_offsets
from qsm_pipeline.numerics.phase.offset import remove_phase_offset, wrap
from qsm_pipeline.numerics.phase.origin import FAR, phase_origin_s
from qsm_pipeline.steps.provenance import Provenance
from qsm_pipeline.steps.scan import Scan
from qsm_pipeline.steps.unwrapping import unwrap_phase


@dataclass(frozen=True)
class CorrectedPhase:
    """Wrapped phase that is proportional to the echo time.

    Parameters
    ----------
    phase_rad : torch.Tensor, shape (E, X, Y, Z)
        Wrapped phase, zero outside the mask where the offset was removed; a single echo keeps it.
    provenance : Provenance
        What was removed.
    left_out : int, optional
        The echo, from 0, that does not fit the others, and has what they say of it.
    """

    phase_rad: Tensor
    provenance: Provenance
    left_out: int | None = None


def correct_phase(
    scan: Scan,
    mask: Tensor,
    *,
    remove_offset: bool = True,
    params: PhaseOffsetParams | None = None,
) -> CorrectedPhase:
    """Remove from the phase what is not proportional to the echo time.

    Offsets of slices, the odd/even difference of a bipolar readout, constants of echoes, and last
    the smooth phase offset (MCPC-3D-S). The difference is removed where the readout is bipolar,
    and looked for where it is unknown; the others are looked for in every scan.

    Parameters
    ----------
    scan : Scan
        With wrapped phase.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where there is signal.
    remove_offset : bool
        Remove the offset of several echoes.
    params : PhaseOffsetParams, optional
        Parameters of the offset removal.

    Returns
    -------
    CorrectedPhase
        The phase and what was removed of it.
    """
    check_mask("mask", mask, scan.grid.shape, empty=False)
    params = params or PhaseOffsetParams()
    if not remove_offset or len(scan.echo_times_s) < 2:
        return _corrected(scan, mask, remove_offset, params)
    box = BoundingBox.of(mask, scan.grid)  # without the offset the rest is zero
    found = _corrected(scan.within(box), box.cut(mask), remove_offset, params)
    return replace(found, phase_rad=box.paste(found.phase_rad))


def _corrected(
    scan: Scan, mask: Tensor, remove_offset: bool, params: PhaseOffsetParams
) -> CorrectedPhase:
    """Correct the phase of a scan; arguments as of :func:`correct_phase`."""
    bad = corrupted_echo(scan.phase_rad, scan.magnitude, mask, scan.echo_times_s)
    if bad is not None and not _alone_in_polarity(scan, bad):
        return _without_echo(scan, mask, bad, params)
    phase, times = scan.phase_rad, scan.echo_times_s
    grid = head_sized(scan.grid, mask)
    several = len(times) > 1
    facts: dict[str, Any] = {"PhaseOffsetRemoval": "none", "BipolarCorrection": False}
    parameters: dict[str, Any] = {}
    warnings: list[str] = []
    if not several:
        facts["PhaseOffsetRemoval"] = "none: a single echo cannot tell it from the field"
    slices = slice_offsets(phase, scan.magnitude, mask, times)
    if slices is not None:
        phase = slices.remove(phase)
        facts["SliceOffsetsAxis"] = slices.axis
        warnings.append(
            f"Each slice along voxel axis {slices.axis} has a phase offset of its own, as in "
            "two-dimensional acquisitions; it was removed"
            + ("" if several else ", and the mean field of each slice with it")
        )
    phase = _without_alternation(replace(scan, phase_rad=phase), mask, facts, warnings)
    origin_s = phase_origin_s(phase, scan.magnitude, mask, times, grid) if remove_offset else None
    if origin_s is not None and abs(origin_s) <= FAR * times[0]:
        origin_s = None
    if origin_s is not None:
        origin_s = min(origin_s, 0.99 * times[0])
        times = tuple(time - origin_s for time in times)
        facts["PhaseOriginS"] = round(origin_s, 6)
        warnings.append(
            f"The phase begins at an echo time of {1000 * origin_s:.1f} ms and not at 0, as if it "
            "were relative to another echo or the sidecars gave wrong echo times; it was "
            "corrected. Check EchoTime, and how the coils were combined"
        )
    if several:
        constants = echo_constants_rad(phase, scan.magnitude, mask, times)
        if max(abs(c) for c in constants) > SAME_RAD:
            column = torch.tensor(constants, dtype=phase.dtype, device=phase.device)
            phase = wrap(phase - column[:, None, None, None])
            facts["EchoConstantsRad"] = [round(c, 4) for c in constants]
            listed = ", ".join(f"{c:.2f}" for c in constants)
            warnings.append(
                f"The phase of whole echoes is off the line through the first two ({listed} rad), "
                "as after drift or in separate scans; these constants were removed"
            )
    if remove_offset and several:
        phase, _ = remove_phase_offset(phase, scan.magnitude, mask, times, grid, params)
        facts["PhaseOffsetRemoval"] = f"MCPC-3D-S, Gaussian of {params.sigma_mm:g} mm"
        parameters["PhaseOffsetParameters"] = asdict(params)
    if origin_s is not None:
        phase = _from_time_zero(replace(scan, phase_rad=phase, echo_times_s=times), mask, origin_s)
    return CorrectedPhase(phase, Provenance(parameters, facts, tuple(warnings)))


def _from_time_zero(scan: Scan, mask: Tensor, origin_s: float) -> Tensor:
    """Return wrapped phase with what the field evolves from echo time zero to where it begins.

    The echo times of ``scan`` count from there.
    """
    unwrapped = unwrap_phase(scan, mask)
    fit = weighted_field_fit(
        unwrapped.phase_rad, scan.magnitude, mask, scan.echo_times_s, scan.b0_tesla
    )
    before = rad_per_s_per_ppm(scan.b0_tesla) * origin_s * fit.total_field_ppm
    return wrap(scan.phase_rad + before * mask)


def _alone_in_polarity(scan: Scan, echo: int) -> bool:
    """Return whether an echo may be off because it alone was read in the other direction."""
    polarity = polarities(len(scan.echo_times_s), scan.echo_numbers)
    return scan.readout != "monopolar" and polarity.count(polarity[echo]) == 1


def _without_echo(scan: Scan, mask: Tensor, bad: int, params: PhaseOffsetParams) -> CorrectedPhase:
    """Correct the other echoes, and put what they say in the place of the one that is left out."""
    kept = [echo for echo in range(len(scan.echo_times_s)) if echo != bad]
    times = tuple(scan.echo_times_s[echo] for echo in kept)
    numbers = scan.echo_numbers or tuple(range(1, len(scan.echo_times_s) + 1))
    rest = replace(
        scan,
        phase_rad=scan.phase_rad[kept],
        magnitude=scan.magnitude[kept],
        echo_times_s=times,
        echo_numbers=tuple(numbers[echo] for echo in kept),
    )
    corrected = correct_phase(rest, mask, params=params)
    phase = torch.empty_like(scan.phase_rad)
    phase[kept] = corrected.phase_rad
    unwrapped = unwrap_phase(replace(rest, phase_rad=corrected.phase_rad), mask)
    fit = weighted_field_fit(unwrapped.phase_rad, rest.magnitude, mask, times, scan.b0_tesla)
    evolution = rad_per_s_per_ppm(scan.b0_tesla) * scan.echo_times_s[bad]
    phase[bad] = wrap(fit.total_field_ppm * evolution) * mask
    said = (
        f"Echo {numbers[bad]} does not fit the others, as after motion or with damaged data; it "
        "was left out of the field and of R2*"
    )
    facts = Provenance(facts={"EchoLeftOut": numbers[bad]}, warnings=(said,))
    return CorrectedPhase(phase, corrected.provenance | facts, bad)


def _without_alternation(
    scan: Scan, mask: Tensor, facts: dict[str, Any], warnings: list[str]
) -> Tensor:
    """Return the phase without the odd/even difference of a bipolar readout."""
    phase, times = scan.phase_rad, scan.echo_times_s
    polarity = polarities(len(times), scan.echo_numbers)
    declared = scan.readout == "bipolar"
    if scan.readout == "monopolar" or len(set(polarity)) < 2:
        return phase
    if not can_be_looked_for(polarity):
        if declared:
            warnings.append(
                "The readout is bipolar, but two echoes cannot tell its phase from the field: "
                "what is linear goes with the background, and the rest stays"
            )
        return phase
    grid = head_sized(scan.grid, mask)
    spread_rad = (
        None
        if declared
        else spread_seen_coarsely(phase, scan.magnitude, mask, times, grid, polarity)
    )
    if spread_rad is None or spread_rad > FOUND_RAD / 2:
        alternating = alternating_phase(
            phase, scan.magnitude, mask, times, grid, polarity=polarity
        )
        spread_rad = bipolar_score(alternating, mask)
    facts["BipolarPhaseSpreadRad"] = spread_rad
    if not declared and spread_rad <= FOUND_RAD:
        return phase
    facts["BipolarCorrection"] = True
    if not declared:
        facts["BipolarReadout"] = (
            "Found in the phase, whose even echoes differ from the odd ones; the sidecar does not "
            "say"
        )
        warnings.append(
            f"Even echoes differ from odd ones by a smooth phase (spread {spread_rad:.2f} rad): "
            "taken for a bipolar readout, which no sidecar says; --readout decides otherwise"
        )
    return remove_alternating_phase(phase, alternating, polarity)
