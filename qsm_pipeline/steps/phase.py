"""Remove from the phase what is not the field: the phase offset and that of a bipolar readout."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from qsm_pipeline.numerics.core.contracts import check_mask
from qsm_pipeline.numerics.params.phase import PhaseOffsetParams
from qsm_pipeline.numerics.phase.bipolar import (
    FOUND_RAD,
    alternating_phase,
    bipolar_score,
    equally_spaced,
    remove_alternating_phase,
)
from qsm_pipeline.numerics.phase.offset import remove_phase_offset
from qsm_pipeline.steps.provenance import Provenance
from qsm_pipeline.steps.scan import Scan


@dataclass(frozen=True)
class CorrectedPhase:
    """Wrapped phase that is proportional to the echo time.

    Parameters
    ----------
    phase_rad : torch.Tensor, shape (E, X, Y, Z)
        Wrapped phase; a single echo keeps its offset.
    provenance : Provenance
        What was removed.
    """

    phase_rad: Tensor
    provenance: Provenance


def correct_phase(
    scan: Scan,
    mask: Tensor,
    *,
    remove_offset: bool = True,
    params: PhaseOffsetParams | None = None,
) -> CorrectedPhase:
    """Remove the odd/even difference of a bipolar readout, then the phase offset (MCPC-3D-S).

    The difference is removed where the readout is bipolar, and looked for where it is unknown.

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

    Raises
    ------
    ValueError
        If a readout that is declared bipolar cannot be corrected.
    """
    check_mask("mask", mask, scan.grid.shape, empty=False)
    params = params or PhaseOffsetParams()
    phase, grid, times = scan.phase_rad, scan.grid, scan.echo_times_s
    several = len(times) > 1
    facts: dict[str, Any] = {"PhaseOffsetRemoval": "none", "BipolarCorrection": False}
    parameters: dict[str, Any] = {}
    if not several:
        facts["PhaseOffsetRemoval"] = "none: a single echo cannot tell it from the field"
    declared = scan.readout == "bipolar"
    if declared or (scan.readout == "unknown" and equally_spaced(times)):
        alternating = alternating_phase(phase, scan.magnitude, mask, times, grid)
        spread_rad = bipolar_score(alternating, mask)
        facts["BipolarPhaseSpreadRad"] = spread_rad
        if declared or spread_rad > FOUND_RAD:
            phase = remove_alternating_phase(phase, alternating)
            facts["BipolarCorrection"] = True
        if not declared and spread_rad > FOUND_RAD:
            facts["BipolarReadout"] = (
                "Found in the phase, whose even echoes differ from the odd ones; the sidecar "
                "does not say"
            )
    if remove_offset and several:
        phase, _ = remove_phase_offset(phase, scan.magnitude, mask, times, grid, params)
        facts["PhaseOffsetRemoval"] = f"MCPC-3D-S, Gaussian of {params.sigma_mm:g} mm"
        parameters["PhaseOffsetParameters"] = asdict(params)
    return CorrectedPhase(phase, Provenance(parameters, facts))
