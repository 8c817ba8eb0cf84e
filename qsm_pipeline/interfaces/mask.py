"""The nodes that find the brain and combine the maps of two masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from qsm_pipeline.exceptions import MaskError
from qsm_pipeline.interfaces._base import NumericInputSpec, NumericInterface, as_dict
from qsm_pipeline.steps.methods import OWN_MASK, methods


class MaskBrainInputSpec(BaseInterfaceInputSpec):
    """Inputs of `MaskBrain`."""

    magnitude = File(exists=True, mandatory=True, desc="4D magnitude")
    phase = File(exists=True, mandatory=True, desc="4D wrapped phase in rad")
    echo_times_s = traits.List(traits.Float, mandatory=True)
    b0_tesla = traits.Float(mandatory=True)
    valid = File(exists=True, mandatory=True)
    user_mask = traits.Str("", usedefault=True)
    method = traits.Enum(*methods("mask"), usedefault=True)
    refinement = traits.Enum(
        *methods("mask_refinement"), usedefault=True, desc="not of a user's mask"
    )
    two_pass = traits.Bool(False, usedefault=True, desc="find the reliable part too")
    label = traits.Str(mandatory=True, desc="name of the run in messages")


class MaskBrainOutputSpec(TraitedSpec):
    """Outputs of `MaskBrain`."""

    mask = File(exists=True)
    measured = File(exists=True, desc="the mask and what has reliable phase around it")
    reliable = File(exists=True, desc="where the phase is good, if asked for")
    quality = File(exists=True, desc="of the phase, from 0 to 1")
    provenance = traits.Dict(desc="how the mask was made")


class MaskBrain(SimpleInterface):
    """Find the brain and fit it to the reliable phase, or check the user's own mask."""

    input_spec = MaskBrainInputSpec
    output_spec = MaskBrainOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from qsm_pipeline.io.volumes import load_mask, load_tensor, save_tensor
        from qsm_pipeline.steps.masking import combined_magnitude, find_mask
        from qsm_pipeline.steps.scan import Scan

        inputs = self.inputs
        own = inputs.user_mask
        combined = combined_magnitude(load_tensor(inputs.magnitude))
        first = slice(0, 2)  # the network needs the memory of the others
        scan = Scan(
            load_tensor(inputs.phase, echo=first),
            load_tensor(inputs.magnitude, echo=first),
            tuple(inputs.echo_times_s[first]),
            inputs.b0_tesla,
            nib.load(inputs.phase).affine,
        )
        try:
            found = find_mask(
                scan,
                combined=combined,
                own=load_mask(own) if own else None,
                valid=load_mask(inputs.valid),
                method=inputs.method,
                refinement=inputs.refinement,
                two_pass=inputs.two_pass,
            )
        except ValueError as error:
            how = OWN_MASK if own else inputs.method
            raise MaskError(
                f"{inputs.label}: {error} (mask: {how}). Give a mask with --mask-pattern or try "
                "another --mask-method or --mask-refinement."
            ) from None
        volumes = {"mask": found.brain, "measured": found.measured, "quality": found.quality}
        if found.reliable is not None:
            volumes["reliable"] = found.reliable
        folder = Path(runtime.cwd)
        self._results = {
            name: save_tensor(volume, inputs.phase, folder / f"{name}.nii")
            for name, volume in volumes.items()
        } | {"provenance": as_dict(found.provenance)}
        return runtime


class CombinePassesInputSpec(NumericInputSpec):
    """Inputs of `CombinePasses`."""

    chi_reliable = File(exists=True, mandatory=True, desc="ppm, from the reliable voxels alone")
    chi_whole = File(exists=True, mandatory=True, desc="ppm, from the whole mask")
    reliable = File(exists=True, mandatory=True, desc="where the first map is valid")


class CombinePassesOutputSpec(TraitedSpec):
    """Outputs of `CombinePasses`."""

    chi = File(exists=True, desc="ppm")


class CombinePasses(NumericInterface):
    """Fill the map of the reliable voxels with that of the whole mask."""

    input_spec = CombinePassesInputSpec
    output_spec = CombinePassesOutputSpec

    def _compute(self, folder: Path) -> dict[str, Any]:
        from qsm_pipeline.io.volumes import load_mask, load_tensor, save_tensor
        from qsm_pipeline.numerics.masking.two_pass import combine_passes

        inputs = self.inputs
        chi = combine_passes(
            load_tensor(inputs.chi_reliable, device=inputs.device),
            load_tensor(inputs.chi_whole, device=inputs.device),
            load_mask(inputs.reliable, device=inputs.device),
        )
        return {"chi": save_tensor(chi, inputs.chi_whole, folder / "chi.nii")}
