"""Nodes from wrapped phase to the total field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import File, TraitedSpec, traits

from qsm_pipeline.interfaces._base import (
    NumericInputSpec,
    NumericInterface,
    ScanInputSpec,
    as_dict,
    load_scan,
)
from qsm_pipeline.numerics.params.phase import READOUTS, PhaseOffsetParams
from qsm_pipeline.steps.methods import methods
from qsm_pipeline.steps.provenance import Provenance


class CorrectPhaseInputSpec(ScanInputSpec):
    """Inputs of `CorrectPhase`."""

    readout = traits.Enum(
        *READOUTS,
        usedefault=True,
        desc="the odd/even difference is removed if bipolar, and looked for if unknown",
    )
    echo_numbers = traits.List(traits.Int, desc="from 1; 1, 2, ... by default")
    remove_offset = traits.Bool(True, usedefault=True, desc="MCPC-3D-S")
    params = traits.Dict(usedefault=True, desc="of PhaseOffsetParams")


class CorrectPhaseOutputSpec(TraitedSpec):
    """Outputs of `CorrectPhase`."""

    phase = File(exists=True, desc="4D wrapped phase in rad")
    left_out = traits.Either(None, traits.Int, desc="echo that does not fit the others, from 0")
    provenance = traits.Dict(desc="what was done, for the sidecar")


class CorrectPhase(NumericInterface):
    """Remove the odd/even difference and the phase offset."""

    input_spec = CorrectPhaseInputSpec
    output_spec = CorrectPhaseOutputSpec

    def _compute(self, folder: Path) -> dict[str, Any]:
        from qsm_pipeline.io.volumes import load_mask, save_tensor
        from qsm_pipeline.steps.phase import correct_phase

        inputs = self.inputs
        corrected = correct_phase(
            load_scan(inputs, readout=inputs.readout, echo_numbers=self._get("echo_numbers")),
            load_mask(inputs.mask, device=inputs.device),
            remove_offset=inputs.remove_offset,
            params=PhaseOffsetParams(**inputs.params),
        )
        return {
            "phase": save_tensor(corrected.phase_rad, inputs.phase, folder / "phase.nii"),
            "left_out": corrected.left_out,
            "provenance": as_dict(corrected.provenance),
        }


class UnwrapPhaseInputSpec(ScanInputSpec):
    """Inputs of `UnwrapPhase`."""

    method = traits.Enum(*methods("unwrap"), usedefault=True)
    params = traits.Dict(usedefault=True)


class UnwrapPhaseOutputSpec(TraitedSpec):
    """Outputs of `UnwrapPhase`."""

    unwrapped = File(exists=True, desc="4D phase in rad")
    provenance = traits.Dict(desc="what was done, for the sidecar")


class UnwrapPhase(NumericInterface):
    """Unwrap all echoes."""

    input_spec = UnwrapPhaseInputSpec
    output_spec = UnwrapPhaseOutputSpec

    def _compute(self, folder: Path) -> dict[str, Any]:
        from qsm_pipeline.io.volumes import load_mask, save_tensor
        from qsm_pipeline.steps.unwrapping import unwrap_phase

        inputs = self.inputs
        result = unwrap_phase(
            load_scan(inputs),
            load_mask(inputs.mask, device=inputs.device),
            method=inputs.method,
            params=inputs.params,
        )
        return {
            "unwrapped": save_tensor(result.phase_rad, inputs.phase, folder / "unwrapped.nii"),
            "provenance": as_dict(result.provenance),
        }


class FitFieldInputSpec(ScanInputSpec):
    """Inputs of `FitField`; the phase is unwrapped."""

    method = traits.Enum(*methods("field_fit"), usedefault=True)


class FitFieldOutputSpec(TraitedSpec):
    """Outputs of `FitField`."""

    total_field = File(exists=True, desc="ppm")
    weights = File(exists=True, desc="reliability from 0 to 1")
    noise_ppm = traits.Float(desc="standard deviation where the weight is 1")
    trusted = File(exists=True, desc="where the phase cannot be aliased, and what that encloses")
    relative_residual = File(exists=True, desc="part of the signal that is not explained")
    unsure = File(exists=True, desc="strong sources, where the field may be wrong")
    provenance = traits.Dict(desc="what was done, for the sidecar")


class FitField(NumericInterface):
    """Fit the total field and its reliability."""

    input_spec = FitFieldInputSpec
    output_spec = FitFieldOutputSpec

    def _compute(self, folder: Path) -> dict[str, Any]:
        from qsm_pipeline.io.volumes import load_mask, save_tensor
        from qsm_pipeline.steps.total_field import fit_total_field

        inputs = self.inputs
        mask = load_mask(inputs.mask, device=inputs.device)
        total = fit_total_field(load_scan(inputs), mask, method=inputs.method)
        volumes = {
            "total_field": total.total_field_ppm,
            "weights": total.weights,
            "trusted": total.trusted,
            "relative_residual": total.relative_residual,
            "unsure": total.unsure,
        }
        saved: dict[str, Any] = {
            name: save_tensor(volume, inputs.phase, folder / f"{name}.nii")
            for name, volume in volumes.items()
        }
        return saved | {"noise_ppm": total.noise_ppm, "provenance": as_dict(total.provenance)}


class FitRelaxationInputSpec(NumericInputSpec):
    """Inputs of `FitRelaxation`."""

    magnitude = File(exists=True, mandatory=True, desc="4D magnitude")
    mask = File(exists=True, mandatory=True)
    echo_times_s = traits.List(traits.Float, mandatory=True)
    left_out = traits.Either(None, traits.Int, desc="echo that is not used, from 0")


class FitRelaxationOutputSpec(TraitedSpec):
    """Outputs of `FitRelaxation`."""

    r2star = File(exists=True, desc="1/s")
    t2star = File(exists=True, desc="s")
    s0 = File(exists=True, desc="unit of the magnitude")
    r2star_error = File(exists=True, desc="1/s")
    provenance = traits.Dict(desc="the bounds, for the sidecar")


class FitRelaxation(NumericInterface):
    """Fit R2*, T2* and S0."""

    input_spec = FitRelaxationInputSpec
    output_spec = FitRelaxationOutputSpec

    def _compute(self, folder: Path) -> dict[str, Any]:
        from qsm_pipeline.io.volumes import load_mask, load_tensor, save_tensor
        from qsm_pipeline.numerics.field.relaxation import fit_relaxation

        inputs = self.inputs
        maps = fit_relaxation(
            load_tensor(inputs.magnitude, device=inputs.device),
            load_mask(inputs.mask, device=inputs.device),
            tuple(inputs.echo_times_s),
            left_out=self._get("left_out"),
        )
        like = inputs.magnitude
        return {
            "r2star": save_tensor(maps.r2star_per_s, like, folder / "r2star.nii"),
            "t2star": save_tensor(maps.t2star_s, like, folder / "t2star.nii"),
            "s0": save_tensor(maps.s0, like, folder / "s0.nii"),
            "r2star_error": save_tensor(
                maps.r2star_error_per_s, like, folder / "r2star_error.nii"
            ),
            "provenance": as_dict(Provenance(facts=maps.facts())),
        }
