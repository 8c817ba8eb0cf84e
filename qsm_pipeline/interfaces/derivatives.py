"""The node that writes the outputs of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    DynamicTraitedSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from qsm_pipeline.bids.derivatives import sidecar, write_output
from qsm_pipeline.bids.naming import OUTPUTS, output_path
from qsm_pipeline.bids.run import GreRun, doubts
from qsm_pipeline.numerics.core.units import hz_per_ppm

_STEPS = ("mask", "phase", "unwrap", "fit", "background", "invert")
"""Steps whose facts stand beside every output."""


class WriteDerivativesInputSpec(DynamicTraitedSpec, BaseInterfaceInputSpec):
    """Inputs of `WriteDerivatives`: one optional file for each of ``OUTPUTS``."""

    out_dir = traits.Str(mandatory=True)
    run = traits.Dict(mandatory=True, desc="GreRun.to_dict()")
    parameters = traits.Dict(usedefault=True, desc="what no step reports")
    inferred = traits.Dict(usedefault=True)
    mask_provenance = traits.Dict(usedefault=True)
    phase_provenance = traits.Dict(usedefault=True)
    unwrap_provenance = traits.Dict(usedefault=True)
    fit_provenance = traits.Dict(usedefault=True)
    background_provenance = traits.Dict(usedefault=True)
    invert_provenance = traits.Dict(usedefault=True)
    reference_provenance = traits.Dict(usedefault=True, desc="its facts go to the map alone")
    relaxation_provenance = traits.Dict(usedefault=True, desc="of R2*, T2* and S0")
    weighting_provenance = traits.Dict(usedefault=True, desc="of susceptibility-weighted images")
    chi = File(exists=True)
    uncertainty = File(desc="ppm")
    brain_mask = File(exists=True)
    qsm_mask = File(exists=True)
    total_field = File(exists=True, desc="ppm")
    local_field = File(exists=True, desc="ppm")
    weights = File(exists=True, desc="reliability from 0 to 1")
    fieldmap_magnitude = File(exists=True)
    r2star = File(exists=True)
    t2star = File(exists=True)
    s0 = File(exists=True)
    r2star_error = File(exists=True)
    swi = File(exists=True)
    minip = File(exists=True)
    tswi = File(exists=True)


class WriteDerivativesOutputSpec(TraitedSpec):
    """Outputs of `WriteDerivatives`."""

    written = traits.List(File(exists=True))


class WriteDerivatives(SimpleInterface):
    """Write the maps of a run with their sidecars, each file whole or not at all."""

    input_spec = WriteDerivativesInputSpec
    output_spec = WriteDerivativesOutputSpec
    always_run = True  # the outputs live outside the work directory and may have been removed

    def _run_interface(self, runtime: Any) -> Any:
        inputs = self.inputs
        run = GreRun.from_dict(inputs.run)
        out_dir = Path(inputs.out_dir)
        written = []
        for quantity, spec in OUTPUTS.items():
            source = getattr(inputs, quantity)
            if not isdefined(source) or not source:
                continue
            image = nib.load(source)
            values = np.asanyarray(image.dataobj)
            if spec.units == "Hz":
                values = values * np.float32(hz_per_ppm(run.b0_tesla))
            made_from = [] if quantity in ("brain_mask", "fieldmap_magnitude") else ["brain_mask"]
            if quantity == "chi":
                made_from.append("local_field")
            steps = _STEPS
            if quantity == "chi":
                steps = (*steps, "reference")
            if spec.suffix in ("R2starmap", "T2starmap", "S0map"):
                steps = (*steps, "relaxation")
            if spec.suffix == "T2starw":
                steps = (*steps, "weighting")
            used = [getattr(inputs, f"{step}_provenance") for step in steps]
            facts = {key: value for one in used for key, value in one.get("facts", {}).items()}
            if quantity == "chi":
                facts["Warnings"] = doubts(inputs.inferred) + [
                    warning for one in used for warning in one.get("warnings", ())
                ]
            metadata = sidecar(
                run,
                quantity,
                sources=[str(output_path(run.entities, name)) for name in made_from],
                parameters=self._parameters(),
                inferred=inputs.inferred,
                findings=facts,
            )
            path = write_output(out_dir, run, quantity, values, image.header, metadata)
            written += [str(path), str(path).removesuffix(".nii.gz") + ".json"]
        self._results = {"written": written}
        return runtime

    def _parameters(self) -> dict[str, Any]:
        """Return what the steps really used."""
        used = dict(self.inputs.parameters)
        for step in (*_STEPS, "reference", "weighting"):
            used |= getattr(self.inputs, f"{step}_provenance").get("parameters", {})
        return used
