"""Nodes from the total field to the susceptibility map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import File, TraitedSpec, traits

from qsm_pipeline.interfaces._base import NumericInputSpec, NumericInterface, as_dict
from qsm_pipeline.steps.methods import methods
from qsm_pipeline.steps.provenance import Provenance

_SURFACE = 2


class RemoveBackgroundInputSpec(NumericInputSpec):
    """Inputs of `RemoveBackground`."""

    total_field = File(exists=True, mandatory=True, desc="ppm")
    mask = File(exists=True, mandatory=True, desc="where the field is known")
    brain = File(exists=True, mandatory=True, desc="where the local field is wanted")
    within = File(exists=True, desc="a second mask; only what lies in both is used")
    weights = File(exists=True, desc="reliability from 0 to 1")
    echoes = traits.Int(mandatory=True, desc="how many the field was fitted to")
    method = traits.Enum(*methods("background"), usedefault=True)
    params = traits.Dict(usedefault=True)


class RemoveBackgroundOutputSpec(TraitedSpec):
    """Outputs of `RemoveBackground`."""

    local_field = File(exists=True, desc="ppm")
    mask = File(exists=True, desc="where the local field is valid")
    provenance = traits.Dict(desc="what was done, for the sidecar")


class RemoveBackground(NumericInterface):
    """Remove the field of sources outside the mask."""

    input_spec = RemoveBackgroundInputSpec
    output_spec = RemoveBackgroundOutputSpec

    def _compute(self, folder: Path) -> dict[str, Any]:
        from qsm_pipeline.io.volumes import load_grid, load_mask, load_tensor, save_tensor
        from qsm_pipeline.steps.local_field import remove_background
        from qsm_pipeline.steps.total_field import TotalField

        inputs = self.inputs
        weights, within = self._get("weights"), self._get("within")
        total = TotalField(
            load_tensor(inputs.total_field, device=inputs.device),
            load_mask(inputs.mask, device=inputs.device),
            load_grid(inputs.total_field),
            weights=load_tensor(weights, device=inputs.device) if weights else None,
            echoes=inputs.echoes,
        )
        local = remove_background(
            total,
            load_mask(inputs.brain, device=inputs.device),
            within=load_mask(within, device=inputs.device) if within else None,
            method=inputs.method,
            params=inputs.params,
        )
        like = inputs.total_field
        return {
            "local_field": save_tensor(local.local_field_ppm, like, folder / "local_field.nii"),
            "mask": save_tensor(local.mask, like, folder / "mask.nii"),
            "provenance": as_dict(local.provenance),
        }


class InvertDipoleInputSpec(NumericInputSpec):
    """Inputs of `InvertDipole`."""

    local_field = File(exists=True, mandatory=True, desc="ppm")
    mask = File(exists=True, mandatory=True, desc="where the local field is valid")
    brain = File(exists=True, mandatory=True, desc="the whole brain")
    weights = File(exists=True, desc="reliability from 0 to 1")
    magnitude = File(exists=True, desc="4D; the first echo is used for its edges")
    noise_ppm = traits.Float(desc="standard deviation where the weight is 1")
    unsure = File(exists=True, desc="strong sources, where the field may be wrong")
    mean_rad_per_ppm = traits.Float(mandatory=True, desc="phase of 1 ppm at the mean echo time")
    method = traits.Enum(*methods("inversion"), usedefault=True)
    params = traits.Dict(usedefault=True)


class InvertDipoleOutputSpec(TraitedSpec):
    """Outputs of `InvertDipole`."""

    chi = File(exists=True, desc="ppm, not referenced")
    mask = File(exists=True, desc="where it has values")
    valid = File(exists=True, desc="where it can be trusted")
    uncertainty = File(exists=True, desc="expected error in ppm, where the method knows it")
    provenance = traits.Dict(desc="what was done, for the sidecar")


class InvertDipole(NumericInterface):
    """Invert the local field to susceptibility."""

    input_spec = InvertDipoleInputSpec
    output_spec = InvertDipoleOutputSpec

    def _compute(self, folder: Path) -> dict[str, Any]:
        from qsm_pipeline.io.volumes import load_grid, load_mask, load_tensor, save_tensor
        from qsm_pipeline.numerics.core.bounding_box import BoundingBox
        from qsm_pipeline.steps.local_field import LocalField
        from qsm_pipeline.steps.susceptibility import invert_dipole

        inputs = self.inputs
        mask, brain = (load_mask(m, device=inputs.device) for m in (inputs.mask, inputs.brain))
        # the surface lies within the box, beyond whose border a mask counts as going on
        box = BoundingBox.of(mask | brain, load_grid(inputs.local_field), _SURFACE)

        def load(name: str, function: Any = load_tensor, **options: Any) -> Any:
            path = self._get(name)
            return (
                function(path, device=inputs.device, box=box.slices, **options) if path else None
            )

        mask, brain = box.cut(mask), box.cut(brain)
        local = LocalField(
            load("local_field"),
            mask,
            box.inner,
            brain=brain,
            weights=load("weights"),
            noise_ppm=self._get("noise_ppm"),
            mean_rad_per_ppm=inputs.mean_rad_per_ppm,
            unsure=load("unsure", load_mask),
        )
        edges = load("magnitude", echo=0)
        made = invert_dipole(local, edges, method=inputs.method, params=inputs.params)
        volumes = {
            "chi": made.chi_ppm,
            "mask": made.mask,
            "valid": made.valid,
            "uncertainty": made.uncertainty_ppm,
        }
        saved: dict[str, Any] = {
            name: save_tensor(box.paste(volume), inputs.local_field, folder / f"{name}.nii")
            for name, volume in volumes.items()
            if volume is not None
        }
        return saved | {"provenance": as_dict(made.provenance)}


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
        from qsm_pipeline.io.volumes import load_grid, load_mask, load_tensor, save_tensor
        from qsm_pipeline.numerics.maps.predicted_field import predicted_field

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
    region = traits.Str(desc="mask of the region of the user's own, or empty")
    reference = traits.Enum(*methods("reference"), usedefault=True)


class ReferenceOutputSpec(TraitedSpec):
    """Outputs of `Reference`."""

    chi = File(exists=True, desc="ppm")
    provenance = traits.Dict(desc="what was subtracted, for the sidecar")


class Reference(NumericInterface):
    """Subtract the susceptibility of the reference."""

    input_spec = ReferenceInputSpec
    output_spec = ReferenceOutputSpec

    def _compute(self, folder: Path) -> dict[str, Any]:
        from qsm_pipeline.io.volumes import load_grid, load_mask, load_tensor, save_tensor
        from qsm_pipeline.numerics.maps.reference import subtract_reference

        inputs = self.inputs
        r2star, region = self._get("r2star"), self._get("region")
        result = subtract_reference(
            load_tensor(inputs.chi, device=inputs.device),
            load_mask(inputs.mask, device=inputs.device),
            load_grid(inputs.chi),
            inputs.reference,
            load_tensor(r2star, device=inputs.device) if r2star else None,
            region=load_mask(region, device=inputs.device) if region else None,
        )
        return {
            "chi": save_tensor(result.chi_ppm, inputs.chi, folder / "chi.nii"),
            "provenance": as_dict(Provenance(facts=result.facts())),
        }
