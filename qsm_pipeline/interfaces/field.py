"""Nodes from wrapped phase to the total field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import File, TraitedSpec, traits

from qsm_pipeline.interfaces._base import NumericInputSpec, NumericInterface
from qsm_pipeline.io.volumes import load_grid, load_mask, load_tensor, save_tensor
from qsm_pipeline.numerics.core.units import rad_per_s_per_ppm
from qsm_pipeline.numerics.field.fit import nonlinear_field_fit, weighted_field_fit
from qsm_pipeline.numerics.field.relaxation import fit_relaxation
from qsm_pipeline.numerics.field.reliability import reliability, steepness_weight
from qsm_pipeline.numerics.field.trust import trusted_mask
from qsm_pipeline.numerics.params.phase import PhaseOffsetParams
from qsm_pipeline.numerics.phase.bipolar import (
    FOUND_RAD,
    alternating_phase,
    bipolar_score,
    equally_spaced,
    remove_alternating_phase,
)
from qsm_pipeline.numerics.phase.offset import remove_phase_offset
from qsm_pipeline.numerics.unwrap.problem import UnwrapProblem
from qsm_pipeline.steps.methods import method, methods


class _EchoesInputSpec(NumericInputSpec):
    magnitude = File(exists=True, mandatory=True, desc="4D magnitude")
    mask = File(exists=True, mandatory=True)
    echo_times_s = traits.List(traits.Float, mandatory=True)


class _PhaseInputSpec(_EchoesInputSpec):
    phase = File(exists=True, mandatory=True, desc="4D phase in rad")


class CorrectPhaseInputSpec(_PhaseInputSpec):
    """Inputs of `CorrectPhase`."""

    readout = traits.Enum(
        "unknown", "monopolar", "bipolar", usedefault=True,
        desc="the odd/even difference is removed if bipolar, and looked for if unknown",
    )  # fmt: skip
    remove_offset = traits.Bool(True, usedefault=True, desc="MCPC-3D-S")
    params = traits.Dict(usedefault=True, desc="of PhaseOffsetParams")


class CorrectPhaseOutputSpec(TraitedSpec):
    """Outputs of `CorrectPhase`."""

    phase = File(exists=True, desc="4D wrapped phase in rad")
    facts = traits.Dict(desc="what was done, for the sidecar")


class CorrectPhase(NumericInterface):
    """Remove the odd/even difference and the phase offset."""

    input_spec = CorrectPhaseInputSpec
    output_spec = CorrectPhaseOutputSpec

    def _compute(self, folder: Path) -> dict[str, Any]:
        inputs = self.inputs
        grid = load_grid(inputs.phase)
        phase = load_tensor(inputs.phase, device=inputs.device)
        magnitude = load_tensor(inputs.magnitude, device=inputs.device)
        mask = load_mask(inputs.mask, device=inputs.device)
        times = tuple(inputs.echo_times_s)
        facts: dict[str, Any] = {"PhaseOffsetRemoval": "none", "BipolarCorrection": False}
        if len(times) == 1:
            facts["PhaseOffsetRemoval"] = "none: a single echo cannot tell it from the field"
        declared = inputs.readout == "bipolar"
        if declared or (inputs.readout == "unknown" and equally_spaced(times)):
            alternating = alternating_phase(phase, magnitude, mask, times, grid)
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
        if inputs.remove_offset and len(times) > 1:
            params = PhaseOffsetParams(**inputs.params)
            phase, _ = remove_phase_offset(phase, magnitude, mask, times, grid, params)
            facts["PhaseOffsetRemoval"] = f"MCPC-3D-S, Gaussian of {params.sigma_mm:g} mm"
        return {
            "phase": save_tensor(phase, inputs.phase, folder / "phase.nii"),
            "facts": facts,
        }


class UnwrapPhaseInputSpec(_PhaseInputSpec):
    """Inputs of `UnwrapPhase`."""

    method = traits.Enum(*methods("unwrap"), usedefault=True)
    params = traits.Dict(usedefault=True)


class UnwrapPhaseOutputSpec(TraitedSpec):
    """Outputs of `UnwrapPhase`."""

    unwrapped = File(exists=True, desc="4D phase in rad")


class UnwrapPhase(NumericInterface):
    """Unwrap all echoes."""

    input_spec = UnwrapPhaseInputSpec
    output_spec = UnwrapPhaseOutputSpec

    def _compute(self, folder: Path) -> dict[str, Any]:
        inputs = self.inputs
        problem = UnwrapProblem(
            phase_rad=load_tensor(inputs.phase, device=inputs.device),
            mask=load_mask(inputs.mask, device=inputs.device),
            echo_times_s=tuple(inputs.echo_times_s),
            grid=load_grid(inputs.phase),
            magnitude=load_tensor(inputs.magnitude, device=inputs.device),
        )
        chosen = method("unwrap", inputs.method)
        unwrapped = chosen.function(problem, chosen.with_values(inputs.params))
        return {"unwrapped": save_tensor(unwrapped, inputs.phase, folder / "unwrapped.nii")}


class FitFieldInputSpec(_EchoesInputSpec):
    """Inputs of `FitField`."""

    unwrapped = File(exists=True, mandatory=True, desc="4D unwrapped phase in rad")
    b0_tesla = traits.Float(mandatory=True)
    method = traits.Enum(*methods("field_fit"), usedefault=True)


class FitFieldOutputSpec(TraitedSpec):
    """Outputs of `FitField`."""

    total_field = File(exists=True, desc="ppm")
    weights = File(exists=True, desc="reliability from 0 to 1")
    noise_ppm = traits.Float(desc="standard deviation where the weight is 1")
    trusted = File(exists=True, desc="where the phase cannot be aliased")
    relative_residual = File(exists=True, desc="part of the signal that is not explained")


class FitField(NumericInterface):
    """Fit the total field and its reliability."""

    input_spec = FitFieldInputSpec
    output_spec = FitFieldOutputSpec

    def _compute(self, folder: Path) -> dict[str, Any]:
        inputs = self.inputs
        unwrapped = load_tensor(inputs.unwrapped, device=inputs.device)
        magnitude = load_tensor(inputs.magnitude, device=inputs.device)
        mask = load_mask(inputs.mask, device=inputs.device)
        times = tuple(inputs.echo_times_s)
        fit = weighted_field_fit(unwrapped, magnitude, mask, times, inputs.b0_tesla)
        if inputs.method == "nonlinear":
            start = fit.total_field_ppm * rad_per_s_per_ppm(inputs.b0_tesla)
            fit = nonlinear_field_fit(unwrapped, magnitude, mask, times, inputs.b0_tesla, start)
        weights, noise_ppm = reliability(fit.field_noise_ppm, fit.relative_residual, mask)
        trusted = trusted_mask(fit.total_field_ppm, mask, times[0], inputs.b0_tesla, weights)
        if not trusted.any():
            raise ValueError(
                "No voxel of the mask has usable phase: all neighbours differ by more than a "
                "quarter turn; check that the images are phase and the mask is the brain"
            )
        weights = weights * steepness_weight(fit.total_field_ppm, trusted)
        like = inputs.unwrapped
        return {
            "total_field": save_tensor(fit.total_field_ppm, like, folder / "total_field.nii"),
            "weights": save_tensor(weights, like, folder / "weights.nii"),
            "noise_ppm": noise_ppm,
            "trusted": save_tensor(trusted, like, folder / "trusted.nii"),
            "relative_residual": save_tensor(
                fit.relative_residual, like, folder / "relative_residual.nii"
            ),
        }


class FitRelaxationInputSpec(_EchoesInputSpec):
    """Inputs of `FitRelaxation`."""


class FitRelaxationOutputSpec(TraitedSpec):
    """Outputs of `FitRelaxation`."""

    r2star = File(exists=True, desc="1/s")
    t2star = File(exists=True, desc="s")
    s0 = File(exists=True, desc="unit of the magnitude")


class FitRelaxation(NumericInterface):
    """Fit R2*, T2* and S0."""

    input_spec = FitRelaxationInputSpec
    output_spec = FitRelaxationOutputSpec

    def _compute(self, folder: Path) -> dict[str, Any]:
        inputs = self.inputs
        maps = fit_relaxation(
            load_tensor(inputs.magnitude, device=inputs.device),
            load_mask(inputs.mask, device=inputs.device),
            tuple(inputs.echo_times_s),
        )
        like = inputs.magnitude
        return {
            "r2star": save_tensor(maps.r2star_per_s, like, folder / "r2star.nii"),
            "t2star": save_tensor(maps.t2star_s, like, folder / "t2star.nii"),
            "s0": save_tensor(maps.s0, like, folder / "s0.nii"),
        }
