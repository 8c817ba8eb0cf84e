"""The quality of a run, from what the steps of its chain have made."""

from __future__ import annotations

import torch
from torch import Tensor

from qsm_pipeline.numerics.maps.predicted_field import predicted_field
from qsm_pipeline.numerics.quality.assessed import Assessed, Measured
from qsm_pipeline.steps.local_field import LocalField
from qsm_pipeline.steps.scan import Scan
from qsm_pipeline.steps.susceptibility import SusceptibilityMap
from qsm_pipeline.steps.total_field import TotalField


def assessed(
    local: LocalField, chi: SusceptibilityMap, measured: Measured | None = None
) -> Assessed:
    """Gather what `qsm_pipeline.numerics.quality.assess.assess` looks at.

    Parameters
    ----------
    local : LocalField
        The field that was inverted.
    chi : SusceptibilityMap
        The map, before a reference is subtracted.
    measured : Measured, optional
        From :func:`measured_of`; None for a field without its scan.

    Returns
    -------
    Assessed
        All on one device.
    """
    brain = local.mask if local.brain is None else local.brain
    predicted = predicted_field(chi.chi_ppm, chi.mask, chi.grid)
    return Assessed(
        weights=local.mask.float() if local.weights is None else local.weights,
        unsure=torch.zeros_like(brain) if local.unsure is None else local.unsure,
        local_field_ppm=local.local_field_ppm,
        field_residual_ppm=(local.local_field_ppm - predicted) * local.mask,
        chi_ppm=chi.chi_ppm,
        brain=brain,
        known=local.mask,
        valid=chi.valid,
        grid=local.grid,
        measured=measured,
    )


def measured_of(
    scan: Scan, corrected_rad: Tensor, unwrapped_rad: Tensor, total: TotalField
) -> Measured:
    """Gather what the scanner measured, and its total field.

    Parameters
    ----------
    scan : Scan
        As it was read.
    corrected_rad, unwrapped_rad : torch.Tensor, shape (E, X, Y, Z)
        Phase without its offset, before and after unwrapping.
    total : TotalField
        Fitted to it.
    """
    residual = total.relative_residual
    return Measured(
        scan.magnitude,
        scan.phase_rad,
        corrected_rad,
        unwrapped_rad,
        torch.zeros_like(total.total_field_ppm) if residual is None else residual,
        total.total_field_ppm,
        scan.echo_times_s,
        scan.b0_tesla,
    )
