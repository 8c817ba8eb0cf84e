"""One scan from raw phase to its susceptibility map, in memory.

The workflow of the command has the same steps as nodes; this is the place to read what happens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from qsm_pipeline.numerics.field.relaxation import Relaxation, fit_relaxation
from qsm_pipeline.numerics.maps.reference import subtract_reference
from qsm_pipeline.numerics.masking.two_pass import combine_passes
from qsm_pipeline.steps.local_field import LocalField, remove_background
from qsm_pipeline.steps.masking import BrainMask, find_mask
from qsm_pipeline.steps.methods import default
from qsm_pipeline.steps.phase import CorrectedPhase, correct_phase
from qsm_pipeline.steps.provenance import Provenance
from qsm_pipeline.steps.scan import Scan
from qsm_pipeline.steps.susceptibility import SusceptibilityMap, invert_dipole
from qsm_pipeline.steps.total_field import TotalField, fit_total_field
from qsm_pipeline.steps.unwrapping import UnwrappedPhase, unwrap_phase


@dataclass(frozen=True)
class Methods:
    """The method of each step, by its name, and parameters that differ from the defaults.

    Parameters
    ----------
    mask_method, mask_refinement, unwrap, field_fit, background, inversion, reference : str
        Methods; see `qsm_pipeline.steps`.
    two_pass : bool
        Map the reliable voxels alone first, and fill the rest from the whole mask.
    background_params, inversion_params : mapping
        Parameters.
    """

    mask_method: str = default("mask")
    mask_refinement: str = default("mask_refinement")
    two_pass: bool = False
    unwrap: str = default("unwrap")
    field_fit: str = default("field_fit")
    background: str = default("background")
    background_params: Mapping[str, Any] = field(default_factory=dict)
    inversion: str = default("inversion")
    inversion_params: Mapping[str, Any] = field(default_factory=dict)
    reference: str = default("reference")


@dataclass(frozen=True)
class MappedScan:
    """All that the chain makes of a scan.

    Parameters
    ----------
    mask : BrainMask
        The brain.
    total : TotalField
        Field of all sources.
    local : LocalField
        Field of the brain.
    susceptibility : SusceptibilityMap
        The map relative to its reference.
    relaxation : Relaxation, optional
        Of several echoes.
    """

    mask: BrainMask
    total: TotalField
    local: LocalField
    susceptibility: SusceptibilityMap
    relaxation: Relaxation | None = None


def phases_of_scan(
    scan: Scan, mask: Tensor, methods: Methods
) -> tuple[CorrectedPhase, UnwrappedPhase]:
    """Correct and unwrap the phase of a scan; arguments as of :func:`fit_field_of_scan`."""
    corrected = correct_phase(scan, mask)
    return corrected, unwrap_phase(
        scan.with_phase(corrected.phase_rad), mask, method=methods.unwrap
    )


def fit_field_of_scan(scan: Scan, mask: Tensor, methods: Methods | None = None) -> TotalField:
    """Correct and unwrap the phase of a scan, and fit its total field.

    Parameters
    ----------
    scan : Scan
        With wrapped phase.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where the phase is reliable.
    methods : Methods, optional
        Of unwrapping and field fit.

    Returns
    -------
    TotalField
        Its provenance holds that of the phase too.
    """
    methods = methods or Methods()
    corrected, unwrapped = phases_of_scan(scan, mask, methods)
    total = fit_total_field(scan.with_phase(unwrapped.phase_rad), mask, method=methods.field_fit)
    provenance = corrected.provenance | unwrapped.provenance | total.provenance
    return replace(total, left_out=corrected.left_out, provenance=provenance)


@torch.inference_mode()
def map_scan(
    scan: Scan, methods: Methods | None = None, *, mask: BrainMask | None = None
) -> MappedScan:
    """Map the susceptibility of a scan.

    Parameters
    ----------
    scan : Scan
        With wrapped phase.
    methods : Methods, optional
        Of every step.
    mask : BrainMask, optional
        The brain, if it was found before.

    Returns
    -------
    MappedScan
        The map with what it was made from.
    """
    methods = methods or Methods()
    mask = mask or find_mask(
        scan,
        method=methods.mask_method,
        refinement=methods.mask_refinement,
        two_pass=methods.two_pass,
    )
    device = scan.phase_rad.device
    brain, measured = mask.brain.to(device), mask.measured.to(device)
    total = fit_field_of_scan(scan, measured, methods)

    def remove_and_invert(wanted: Tensor, within: Tensor | None) -> tuple[LocalField, Any]:
        local = remove_background(
            total,
            wanted,
            within=within,
            method=methods.background,
            params=methods.background_params,
        )
        chi = invert_dipole(
            local, scan.magnitude[0], method=methods.inversion, params=methods.inversion_params
        )
        return local, chi

    local, chi = remove_and_invert(brain, None)
    if methods.two_pass:
        assert mask.reliable is not None
        reliable = mask.reliable.to(device)
        _, first = remove_and_invert(reliable, reliable)
        combined = combine_passes(first.chi_ppm, chi.chi_ppm, first.mask)
        chi = replace(chi, chi_ppm=combined)
    relaxation = None
    if len(scan.echo_times_s) > 1:
        relaxation = fit_relaxation(
            scan.magnitude, brain, scan.echo_times_s, left_out=total.left_out
        )
    r2star = relaxation.r2star_per_s if relaxation else None
    referenced = subtract_reference(chi.chi_ppm, chi.mask, chi.grid, methods.reference, r2star)
    provenance = (
        mask.provenance
        | total.provenance
        | local.provenance
        | chi.provenance
        | Provenance(facts=referenced.facts())
    )
    chi = replace(chi, chi_ppm=referenced.chi_ppm, provenance=provenance)
    return MappedScan(mask, total, local, chi, relaxation)
