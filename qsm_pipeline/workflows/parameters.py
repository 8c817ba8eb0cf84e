"""Every parameter of every step, defaults included, for the sidecars and the methods text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from inspect import Parameter, signature
from typing import Any

from qsm_pipeline.cycleqsm.checkpoint import SHA256, SHIPPED
from qsm_pipeline.interfaces.inversions import INVERSIONS
from qsm_pipeline.numerics.background import METHODS as BACKGROUND_METHODS
from qsm_pipeline.numerics.field.fit import DEPHASED_RESIDUAL
from qsm_pipeline.numerics.field.reliability import MAX_RELATIVE_RESIDUAL, RIM_MM, STEEP_PPM
from qsm_pipeline.numerics.field.trust import MAX_STEP_RAD
from qsm_pipeline.numerics.masking.refine import measured_region, refine_mask, reliable_part
from qsm_pipeline.numerics.params.maps import WeightingParams
from qsm_pipeline.numerics.params.phase import PhaseOffsetParams
from qsm_pipeline.numerics.unwrap import METHODS as UNWRAP_METHODS


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
        "MaskRefinementParameters": _defaults(refine_mask),
        "TwoPass": two_pass,
        "TwoPassParameters": _defaults(reliable_part),
        "PhaseOffsetParameters": asdict(PhaseOffsetParams()),
        "Unwrapping": unwrap,
        "UnwrappingParameters": asdict(UNWRAP_METHODS[unwrap].params()),
        "FieldFit": field_fit,
        "FieldFitParameters": {"dephased_residual": DEPHASED_RESIDUAL},
        "ExclusionParameters": {
            "max_relative_residual": MAX_RELATIVE_RESIDUAL,
            "max_step_rad": MAX_STEP_RAD,
            "steep_ppm": STEEP_PPM,
            "rim_mm": RIM_MM,
        },
        "BackgroundRemoval": background,
        "BackgroundParameters": asdict(BACKGROUND_METHODS[background].params(**background_params)),
        "Inversion": inversion,
        "InversionParameters": asdict(INVERSIONS[inversion].params(**inversion_params)),
    }
    if mask_refinement != "none":
        parameters["FieldRegionParameters"] = _defaults(measured_region)
    if derive:
        parameters["SusceptibilityWeighting"] = asdict(WeightingParams())
    if regions:
        parameters["Regions"] = regions
    if inversion == "cycleqsm" and not parameters["InversionParameters"]["generator"]:
        parameters["Generator"] = f"{SHIPPED}, SHA-256 {SHA256[SHIPPED]}"
    return parameters


def _defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the keyword arguments of a function that have a default, and what it is."""
    given = signature(function).parameters.values()
    return {p.name: p.default for p in given if p.default is not Parameter.empty}
