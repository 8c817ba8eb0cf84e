"""Nodes from the total field to the susceptibility map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import File, TraitedSpec, traits

from qsm_pipeline.cycleqsm.infer import Reconstruction
from qsm_pipeline.interfaces._base import NumericInputSpec, NumericInterface
from qsm_pipeline.io.volumes import load_grid, load_mask, load_tensor, save_tensor
from qsm_pipeline.numerics.background.problem import BackgroundProblem
from qsm_pipeline.numerics.core.units import rad_per_s_per_ppm
from qsm_pipeline.numerics.field.reliability import rim_weight
from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.maps.predicted_field import predicted_field
from qsm_pipeline.numerics.maps.reference import subtract_reference
from qsm_pipeline.steps.methods import method, methods


class RemoveBackgroundInputSpec(NumericInputSpec):
    """Inputs of `RemoveBackground`."""

    total_field = File(exists=True, mandatory=True, desc="ppm")
    mask = File(exists=True, mandatory=True, desc="where the field is known")
    brain = File(exists=True, mandatory=True, desc="where the local field is wanted")
    within = File(exists=True, desc="a second mask; only what lies in both is used")
    weights = File(exists=True, desc="reliability from 0 to 1")
    method = traits.Enum(*methods("background"), usedefault=True)
    params = traits.Dict(usedefault=True)


class RemoveBackgroundOutputSpec(TraitedSpec):
    """Outputs of `RemoveBackground`."""

    local_field = File(exists=True, desc="ppm")
    mask = File(exists=True, desc="where the local field is valid")


class RemoveBackground(NumericInterface):
    """Remove the field of sources outside the mask."""

    input_spec = RemoveBackgroundInputSpec
    output_spec = RemoveBackgroundOutputSpec

    def _compute(self, folder: Path) -> dict[str, Any]:
        inputs = self.inputs
        weights, within = self._get("weights"), self._get("within")
        mask = load_mask(inputs.mask, device=inputs.device)
        if within:
            mask &= load_mask(within, device=inputs.device)
        problem = BackgroundProblem(
            total_field_ppm=load_tensor(inputs.total_field, device=inputs.device),
            mask=mask,
            grid=load_grid(inputs.total_field),
            weights=load_tensor(weights, device=inputs.device) if weights else None,
        )
        chosen = method("background", inputs.method)
        local = chosen.function(problem, chosen.with_values(inputs.params))
        valid = local.mask & load_mask(inputs.brain, device=inputs.device)
        like = inputs.total_field
        return {
            "local_field": save_tensor(
                local.local_field_ppm * valid, like, folder / "local_field.nii"
            ),
            "mask": save_tensor(valid, like, folder / "mask.nii"),
        }


class InvertDipoleInputSpec(NumericInputSpec):
    """Inputs of `InvertDipole`."""

    local_field = File(exists=True, mandatory=True, desc="ppm")
    mask = File(exists=True, mandatory=True, desc="where the local field is valid")
    brain = File(exists=True, mandatory=True, desc="the whole brain")
    weights = File(exists=True, desc="reliability from 0 to 1")
    magnitude = File(exists=True, desc="4D; the first echo is used for its edges")
    noise_ppm = traits.Float(desc="standard deviation where the weight is 1")
    echo_times_s = traits.List(traits.Float, mandatory=True)
    b0_tesla = traits.Float(mandatory=True)
    method = traits.Enum(*methods("inversion"), usedefault=True)
    params = traits.Dict(usedefault=True)


class InvertDipoleOutputSpec(TraitedSpec):
    """Outputs of `InvertDipole`."""

    chi = File(exists=True, desc="ppm, not referenced")
    mask = File(exists=True, desc="where it is valid")
    uncertainty = File(exists=True, desc="expected error in ppm, where the method knows it")


class InvertDipole(NumericInterface):
    """Invert the local field to susceptibility."""

    input_spec = InvertDipoleInputSpec
    output_spec = InvertDipoleOutputSpec

    def _compute(self, folder: Path) -> dict[str, Any]:
        inputs = self.inputs
        weights, magnitude = self._get("weights"), self._get("magnitude")
        times = inputs.echo_times_s
        chosen = method("inversion", inputs.method)
        known = load_mask(inputs.mask, device=inputs.device)
        mask = load_mask(inputs.brain, device=inputs.device) if chosen.fills_gaps else known
        grid = load_grid(inputs.local_field)
        reliable = known.float()
        if weights:
            reliable = load_tensor(weights, device=inputs.device) * rim_weight(known, grid)
        problem = InversionProblem(
            local_field_ppm=load_tensor(inputs.local_field, device=inputs.device),
            mask=mask,
            grid=grid,
            weights=reliable,
            magnitude=load_tensor(magnitude, device=inputs.device)[0] if magnitude else None,
            noise_ppm=self._get("noise_ppm"),
            rad_per_ppm=rad_per_s_per_ppm(inputs.b0_tesla) * sum(times) / len(times),
            residual_background=True,
        )
        result = chosen.function(problem, chosen.with_values(inputs.params))
        if not isinstance(result, Reconstruction):
            result = Reconstruction(result, None)
        if not result.chi_ppm.isfinite().all():
            raise ValueError(
                f"{inputs.method} gave values that are not finite with the parameters "
                f"{inputs.params or 'it has by default'}; check them, and the generator if it is "
                "one of your own"
            )
        like = inputs.local_field
        saved = {
            "chi": save_tensor(result.chi_ppm, like, folder / "chi.nii"),
            "mask": save_tensor(mask, like, folder / "mask.nii"),
        }
        if result.uncertainty_ppm is not None:
            path = folder / "uncertainty.nii"
            saved["uncertainty"] = save_tensor(result.uncertainty_ppm, like, path)
        return saved


class PredictFieldInputSpec(NumericInputSpec):
    """Inputs of `PredictField`."""

    chi = File(exists=True, mandatory=True, desc="ppm, not referenced")
    mask = File(exists=True, mandatory=True, desc="where it is valid")
    local_field = File(exists=True, mandatory=True, desc="ppm")


class PredictFieldOutputSpec(TraitedSpec):
    """Outputs of `PredictField`."""

    predicted_field = File(exists=True, desc="ppm")
    residual = File(exists=True, desc="local field less the predicted one in ppm")


class PredictField(NumericInterface):
    """Compare the field that the map predicts with the one that it was made from."""

    input_spec = PredictFieldInputSpec
    output_spec = PredictFieldOutputSpec

    def _compute(self, folder: Path) -> dict[str, Any]:
        inputs = self.inputs
        mask = load_mask(inputs.mask, device=inputs.device)
        chi = load_tensor(inputs.chi, device=inputs.device)
        predicted = predicted_field(chi, mask, load_grid(inputs.chi))
        local = load_tensor(inputs.local_field, device=inputs.device)
        known = mask & (local != 0)  # where the inversion filled gaps there is nothing to compare
        like = inputs.chi
        return {
            "predicted_field": save_tensor(predicted, like, folder / "predicted_field.nii"),
            "residual": save_tensor((local - predicted) * known, like, folder / "residual.nii"),
        }


class ReferenceInputSpec(NumericInputSpec):
    """Inputs of `Reference`."""

    chi = File(exists=True, mandatory=True, desc="ppm")
    mask = File(exists=True, mandatory=True)
    r2star = File(exists=True, desc="1/s, to find the CSF")
    reference = traits.Enum(*methods("reference"), usedefault=True)


class ReferenceOutputSpec(TraitedSpec):
    """Outputs of `Reference`."""

    chi = File(exists=True, desc="ppm")
    facts = traits.Dict(desc="what was subtracted, for the sidecar")


class Reference(NumericInterface):
    """Subtract the susceptibility of the reference."""

    input_spec = ReferenceInputSpec
    output_spec = ReferenceOutputSpec

    def _compute(self, folder: Path) -> dict[str, Any]:
        inputs = self.inputs
        r2star = self._get("r2star")
        result = subtract_reference(
            load_tensor(inputs.chi, device=inputs.device),
            load_mask(inputs.mask, device=inputs.device),
            load_grid(inputs.chi),
            inputs.reference,
            load_tensor(r2star, device=inputs.device) if r2star else None,
        )
        return {
            "chi": save_tensor(result.chi_ppm, inputs.chi, folder / "chi.nii"),
            "facts": {
                "SusceptibilityReference": inputs.reference,
                "ReferenceMeanPpm": result.mean_ppm,
                "ReferenceStandardDeviationPpm": result.sd_ppm,
                "ReferenceVoxels": result.voxels,
                "ReferenceRelativeToBrainPpm": result.relative_to_brain_ppm,
            },
        }
