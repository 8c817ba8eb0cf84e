"""Nodes that read a run and find the brain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from qsm_pipeline.bids.load import load_run
from qsm_pipeline.bids.run import GreRun
from qsm_pipeline.exceptions import MaskError
from qsm_pipeline.interfaces._volumes import load_grid, save_array
from qsm_pipeline.numerics.masking.robust import check_mask, robust_mask

MASK_METHODS = ("deepbet", "robust")


class ReadRunInputSpec(BaseInterfaceInputSpec):
    """Inputs of `ReadRun`."""

    run = traits.Dict(mandatory=True, desc="GreRun.to_dict()")
    files = traits.List(File(exists=True), desc="files of the run, so that a change is noticed")


class ReadRunOutputSpec(TraitedSpec):
    """Outputs of `ReadRun`."""

    phase = File(exists=True, desc="4D wrapped phase in rad")
    magnitude = File(exists=True, desc="4D magnitude")
    combined = File(exists=True, desc="root sum of squares of the magnitude")
    valid = File(exists=True, desc="where every echo has a value")
    mask = traits.Str(desc="the user's mask, or empty")
    facts = traits.Dict(desc="what was inferred")


class ReadRun(SimpleInterface):
    """Read a run into radians and note every decision."""

    input_spec = ReadRunInputSpec
    output_spec = ReadRunOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        loaded = load_run(GreRun.from_dict(self.inputs.run))
        folder = Path(runtime.cwd)
        magnitude = loaded.magnitude
        if magnitude is None:  # only with a mask of the user's own: every echo counts the same
            magnitude = np.repeat(loaded.valid_mask[None], len(loaded.phase_rad), 0)

        def save(name: str, array: np.ndarray) -> str:
            return save_array(array, loaded.affine, loaded.header, folder / f"{name}.nii")

        combined = np.sqrt(np.square(magnitude, dtype=np.float32).sum(0))
        self._results = {
            "phase": save("phase", loaded.phase_rad),
            "magnitude": save("magnitude", magnitude),
            "combined": save("combined", combined),
            "valid": save("valid", loaded.valid_mask),
            "mask": "" if loaded.mask is None else save("mask", loaded.mask),
            "facts": loaded.inferred,
        }
        return runtime


class MaskBrainInputSpec(BaseInterfaceInputSpec):
    """Inputs of `MaskBrain`."""

    magnitude = File(exists=True, mandatory=True, desc="3D magnitude")
    valid = File(exists=True, mandatory=True)
    user_mask = traits.Str("", usedefault=True)
    method = traits.Enum(*MASK_METHODS, usedefault=True)
    label = traits.Str(mandatory=True, desc="name of the run in messages")


class MaskBrainOutputSpec(TraitedSpec):
    """Outputs of `MaskBrain`."""

    mask = File(exists=True)
    facts = traits.Dict(desc="how the mask was made")


class MaskBrain(SimpleInterface):
    """Find the brain, or check the user's own mask."""

    input_spec = MaskBrainInputSpec
    output_spec = MaskBrainOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        inputs = self.inputs
        image = nib.load(inputs.magnitude)
        grid = load_grid(inputs.magnitude)
        if inputs.user_mask:
            mask, how = np.asarray(nib.load(inputs.user_mask).dataobj) > 0, "the user's own"
        elif inputs.method == "deepbet":
            from qsm_pipeline.masking.brain import brain_mask

            mask, how = brain_mask(image.get_fdata(dtype=np.float32), image.affine), "deepbet"
        else:
            mask, how = robust_mask(image.get_fdata(dtype=np.float32), grid), "robust threshold"
        mask = mask & (np.asarray(nib.load(inputs.valid).dataobj) > 0)
        try:
            check_mask(mask, grid)
        except ValueError as error:
            raise MaskError(
                f"{inputs.label}: {error} (mask: {how}). Give a mask with --mask-pattern or try "
                "another --mask-method."
            ) from None
        path = Path(runtime.cwd) / "mask.nii"
        self._results = {
            "mask": save_array(mask, image.affine, image.header, path),
            "facts": {
                "BrainMask": how,
                "BrainVolumeMl": round(float(mask.sum()) * grid.voxel_volume_mm3 / 1000, 1),
            },
        }
        return runtime
