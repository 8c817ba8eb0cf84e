"""The nodes that find the brain and combine the maps of two masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from qsm_pipeline.exceptions import MaskError
from qsm_pipeline.interfaces._base import NumericInputSpec, NumericInterface
from qsm_pipeline.io.volumes import (
    load_grid,
    load_mask,
    load_tensor,
    save_array,
    save_tensor,
)
from qsm_pipeline.numerics.core.connected import check_in_one_part
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.masking.refine import measured_region, refine_mask, reliable_part
from qsm_pipeline.numerics.masking.robust import check_mask, robust_mask
from qsm_pipeline.numerics.masking.two_pass import combine_passes
from qsm_pipeline.numerics.phase.quality import phase_quality
from qsm_pipeline.numerics.quality.mask_shape import volume_ml
from qsm_pipeline.steps.methods import methods


class MaskBrainInputSpec(BaseInterfaceInputSpec):
    """Inputs of `MaskBrain`."""

    combined = File(exists=True, mandatory=True, desc="3D magnitude")
    magnitude = File(exists=True, mandatory=True, desc="4D magnitude")
    phase = File(exists=True, mandatory=True, desc="4D wrapped phase in rad")
    echo_times_s = traits.List(traits.Float, mandatory=True)
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
    facts = traits.Dict(desc="how the mask was made")


class MaskBrain(SimpleInterface):
    """Find the brain and fit it to the reliable phase, or check the user's own mask."""

    input_spec = MaskBrainInputSpec
    output_spec = MaskBrainOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        inputs = self.inputs
        grid = load_grid(inputs.combined)
        how = "the user's own" if inputs.user_mask else inputs.method
        facts: dict[str, Any] = {"BrainMask": how}
        quality = self._quality()
        volumes = {"quality": quality}
        try:
            mask = self._find() & (np.asarray(nib.load(inputs.valid).dataobj) > 0)
            check_mask(mask, grid)
            by_phase = inputs.refinement != "none"
            refine = by_phase and not inputs.user_mask
            facts["MaskRefinement"] = inputs.refinement if refine else "none"
            if refine:
                refined = refine_mask(mask, quality, grid)
                facts["BrainVolumeBeforeRefinementMl"] = _volume_ml(mask, grid)
                check_mask(refined, grid)
                mask = refined
            volumes["mask"] = mask
            volumes["measured"] = measured_region(mask, quality, grid) if by_phase else mask
            check_in_one_part(volumes["measured"])
            if inputs.two_pass:
                volumes["reliable"] = reliable_part(mask, quality)
                facts["ReliableVolumeMl"] = _volume_ml(volumes["reliable"], grid)
        except ValueError as error:
            raise MaskError(
                f"{inputs.label}: {error} (mask: {how}). Give a mask with --mask-pattern or try "
                "another --mask-method or --mask-refinement."
            ) from None
        facts["BrainVolumeMl"] = _volume_ml(mask, grid)
        facts["FieldVolumeMl"] = _volume_ml(volumes["measured"], grid)
        image = nib.load(inputs.combined)
        folder = Path(runtime.cwd)
        self._results = {
            name: save_array(array, image.affine, image.header, folder / f"{name}.nii")
            for name, array in volumes.items()
        } | {"facts": facts}
        return runtime

    def _find(self) -> np.ndarray:
        inputs = self.inputs
        if inputs.user_mask:
            return np.asarray(nib.load(inputs.user_mask).dataobj) > 0
        image = nib.load(inputs.combined)
        if inputs.method == "robust":
            return robust_mask(image.get_fdata(dtype=np.float32), load_grid(inputs.combined))
        from qsm_pipeline.external.deepbet import brain_mask

        return brain_mask(image.get_fdata(dtype=np.float32), image.affine)

    def _quality(self) -> np.ndarray:
        valid = load_mask(self.inputs.valid)
        quality = phase_quality(
            load_tensor(self.inputs.phase),
            load_tensor(self.inputs.magnitude),
            torch.ones_like(valid),
            tuple(self.inputs.echo_times_s),
        )
        return (quality * valid).numpy()


def _volume_ml(mask: np.ndarray, grid: Grid) -> float:
    return round(volume_ml(torch.from_numpy(mask), grid), 1)


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
        inputs = self.inputs
        chi = combine_passes(
            load_tensor(inputs.chi_reliable, device=inputs.device),
            load_tensor(inputs.chi_whole, device=inputs.device),
            load_mask(inputs.reliable, device=inputs.device),
        )
        return {"chi": save_tensor(chi, inputs.chi_whole, folder / "chi.nii")}
