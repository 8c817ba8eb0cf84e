"""Every parameter of every step, defaults included, for the sidecars and the methods text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from qsm_pipeline.cycleqsm.shipped_generator import SHA256, SHIPPED
from qsm_pipeline.steps.methods import method


def step_parameters(
    *,
    mask_method: str,
    mask_refinement: str,
    two_pass: bool,
    unwrap: str,
    field_fit: str,
    background: str,
    background_params: Mapping[str, Any],
    inversion: str,
    inversion_params: Mapping[str, Any],
    derive: bool = False,
    regions: str = "",
) -> dict[str, Any]:
    """Return the methods of a run and their parameters.

    Parameters
    ----------
    mask_method, mask_refinement, two_pass, unwrap, field_fit, background, inversion
        As in `qsm_pipeline.workflows.run.init_run_wf`.
    background_params, inversion_params : mapping
        What differs from the method's defaults.
    derive : bool
        Whether susceptibility-weighted images are made.
    regions : str
        Whose regions are measured, in words.

    Returns
    -------
    dict
        Names of methods, each with a dictionary of its numbers; units stand in the names.
    """
    parameters = {
        "MaskMethod": mask_method,
        "MaskRefinement": mask_refinement,
        "MaskRefinementParameters": _used("mask_refinement", "phase-quality"),
        "TwoPass": two_pass,
        "TwoPassParameters": _used("two_pass", "phase-quality"),
        "PhaseOffsetParameters": _used("phase_offset", "mcpc-3d-s"),
        "Unwrapping": unwrap,
        "UnwrappingParameters": _used("unwrap", unwrap),
        "FieldFit": field_fit,
        "FieldFitParameters": _used("field_fit", "weighted"),
        "ExclusionParameters": _used("reliability", "weights"),
        "BackgroundRemoval": background,
        "BackgroundParameters": _used("background", background, background_params),
        "Inversion": inversion,
        "InversionParameters": _used("inversion", inversion, inversion_params),
    }
    if mask_refinement != "none":
        parameters["FieldRegionParameters"] = _used("field_region", "phase-quality")
    if derive:
        parameters["SusceptibilityWeighting"] = _used("weighting", "swi")
    if regions:
        parameters["Regions"] = regions
    if inversion == "cycleqsm" and not parameters["InversionParameters"]["generator"]:
        parameters["Generator"] = f"{SHIPPED}, SHA-256 {SHA256[SHIPPED]}"
    return parameters


def _used(stage: str, name: str, values: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return every parameter of a method."""
    return asdict(method(stage, name).with_values(values))
