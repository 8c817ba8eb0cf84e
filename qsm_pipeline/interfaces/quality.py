"""Nodes that compute and write the quality metrics of a run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from qsm_pipeline.bids.derivatives import software_versions, write_json
from qsm_pipeline.bids.naming import output_path
from qsm_pipeline.bids.run import GreRun
from qsm_pipeline.interfaces._base import NumericInputSpec, NumericInterface
from qsm_pipeline.numerics.quality.limits import check_limits


class AssessQualityInputSpec(NumericInputSpec):
    """Inputs of `AssessQuality`."""

    magnitude = File(exists=True, mandatory=True, desc="4D magnitude")
    phase = File(exists=True, mandatory=True, desc="4D wrapped phase in rad, as unwrapped")
    unwrapped = File(exists=True, mandatory=True, desc="4D unwrapped phase in rad")
    weights = File(exists=True, mandatory=True, desc="reliability from 0 to 1")
    relative_residual = File(exists=True, mandatory=True, desc="of the field fit")
    unsure = File(exists=True, mandatory=True, desc="in and around strong sources")
    local_field = File(exists=True, mandatory=True, desc="ppm")
    residual = File(exists=True, mandatory=True, desc="local field minus field of the map, ppm")
    chi = File(exists=True, mandatory=True, desc="ppm")
    brain = File(exists=True, mandatory=True, desc="the whole brain")
    known = File(exists=True, mandatory=True, desc="where the local field is known")
    valid = File(exists=True, mandatory=True, desc="where the map is valid")
    reference = traits.Dict(usedefault=True, desc="provenance of the reference")
    limits = traits.Dict(usedefault=True, desc="those that differ from the defaults")


class AssessQualityOutputSpec(TraitedSpec):
    """Outputs of `AssessQuality`."""

    metrics = traits.List(traits.Dict, desc="the fields of each metric, and its warning")


class AssessQuality(NumericInterface):
    """Compute the quality metrics of a run."""

    input_spec = AssessQualityInputSpec
    output_spec = AssessQualityOutputSpec

    def _compute(self, folder: Path) -> dict[str, Any]:
        from qsm_pipeline.io.volumes import load_grid, load_mask, load_tensor
        from qsm_pipeline.numerics.quality.assess import Assessed, assess

        inputs = self.inputs

        def load(name: str) -> Any:
            return load_tensor(getattr(inputs, name), device=inputs.device)

        reference = inputs.reference.get("facts", {})
        run = Assessed(
            magnitude=load("magnitude"),
            wrapped_rad=load("phase"),
            unwrapped_rad=load("unwrapped"),
            weights=load("weights"),
            relative_residual=load("relative_residual"),
            unsure=load_mask(inputs.unsure, device=inputs.device),
            local_field_ppm=load("local_field"),
            field_residual_ppm=load("residual"),
            chi_ppm=load("chi"),
            brain=load_mask(inputs.brain, device=inputs.device),
            known=load_mask(inputs.known, device=inputs.device),
            valid=load_mask(inputs.valid, device=inputs.device),
            reference_sd_ppm=(
                reference["ReferenceStandardDeviationPpm"]
                if reference.get("ReferenceVoxels")
                else None
            ),
            grid=load_grid(inputs.chi),
        )
        metrics = assess(run, check_limits(inputs.limits))
        return {"metrics": [asdict(m) | {"warning": m.warning} for m in metrics]}


class WriteQualityInputSpec(BaseInterfaceInputSpec):
    """Inputs of `WriteQuality`."""

    out_dir = traits.Str(mandatory=True)
    run = traits.Dict(mandatory=True, desc="GreRun.to_dict()")
    metrics = traits.List(traits.Dict, mandatory=True)


class WriteQualityOutputSpec(TraitedSpec):
    """Outputs of `WriteQuality`."""

    written = traits.List(File(exists=True))


class WriteQuality(SimpleInterface):
    """Write the metrics of a run as JSON beside its map."""

    input_spec = WriteQualityInputSpec
    output_spec = WriteQualityOutputSpec
    always_run = True  # the output lies outside the work directory and may have been removed

    def _run_interface(self, runtime: Any) -> Any:
        run = GreRun.from_dict(self.inputs.run)
        keys = ("Value", "Units", "Description", "Reference", "Minimum", "Maximum", "Warning")
        metrics = {m["name"]: {k: m[k.lower()] for k in keys} for m in self.inputs.metrics}
        chi = output_path(run.entities, "chi")
        path = Path(self.inputs.out_dir) / output_path(run.entities, "qc", extension=".json")
        data = {
            "Description": "Quality metrics of a susceptibility map. A value of null could not be "
            "computed; a warning that is not empty tells that a limit is not kept.",
            "Sources": [f"bids::{chi}"],
            "Metrics": metrics,
            "Software": software_versions(),
        }
        write_json(path, data)
        self._results = {"written": [str(path)]}
        return runtime
