"""The node that reads a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from qsm_pipeline.bids.coils import load_combined
from qsm_pipeline.bids.run import GreRun


class ReadRunInputSpec(BaseInterfaceInputSpec):
    """Inputs of `ReadRun`."""

    run = traits.Dict(mandatory=True, desc="GreRun.to_dict()")
    files = traits.List(File(), desc="files of the run, so that a change is noticed")


class ReadRunOutputSpec(TraitedSpec):
    """Outputs of `ReadRun`."""

    phase = File(exists=True, desc="4D wrapped phase in rad")
    magnitude = File(exists=True, desc="4D magnitude")
    combined = File(exists=True, desc="root sum of squares of the magnitude")
    valid = File(exists=True, desc="where every echo has a value")
    mask = traits.Str(desc="the user's mask, or empty")
    region = traits.Str(desc="the user's reference region, or empty")
    facts = traits.Dict(desc="what was inferred")


class ReadRun(SimpleInterface):
    """Read a run into radians and note every decision."""

    input_spec = ReadRunInputSpec
    output_spec = ReadRunOutputSpec

    def _run_interface(self, runtime: Any) -> Any:
        from qsm_pipeline.io.arrays import save_array

        def combine(*images: Any) -> tuple[np.ndarray, np.ndarray]:
            from qsm_pipeline.steps.coils import combine_coils  # few runs need what it imports

            return combine_coils(*images)

        loaded = load_combined(GreRun.from_dict(self.inputs.run), combine)
        folder = Path(runtime.cwd)
        magnitude = loaded.magnitude
        if magnitude is None:  # only with a mask of the user's own: every echo counts the same
            magnitude = np.repeat(loaded.valid_mask[None], len(loaded.phase_rad), 0)

        def save(name: str, array: np.ndarray) -> str:
            return save_array(array, loaded.affine, loaded.header, folder / f"{name}.nii")

        def own(name: str, mask: np.ndarray | None) -> str:
            return "" if mask is None else save(name, mask)

        combined = np.sqrt(np.square(magnitude, dtype=np.float32).sum(0))
        self._results = {
            "phase": save("phase", loaded.phase_rad),
            "magnitude": save("magnitude", magnitude),
            "combined": save("combined", combined),
            "valid": save("valid", loaded.valid_mask),
            "mask": own("mask", loaded.mask),
            "region": own("region", loaded.reference_region),
            "facts": loaded.inferred,
        }
        return runtime
