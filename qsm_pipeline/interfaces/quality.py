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
from qsm_pipeline.steps.quality import in_words


class AssessQualityInputSpec(NumericInputSpec):
    """Inputs of `AssessQuality`."""

    magnitude = File(exists=True, mandatory=True, desc="4D magnitude")
    raw_phase = File(exists=True, mandatory=True, desc="4D phase in rad, as read")
    phase = File(exists=True, mandatory=True, desc="4D wrapped phase in rad, as unwrapped")
    unwrapped = File(exists=True, mandatory=True, desc="4D unwrapped phase in rad")
    weights = File(exists=True, mandatory=True, desc="reliability from 0 to 1")
    relative_residual = File(exists=True, mandatory=True, desc="of the field fit")
    unsure = File(exists=True, mandatory=True, desc="in and around strong sources")
    total_field = File(exists=True, mandatory=True, desc="ppm")
    local_field = File(exists=True, mandatory=True, desc="ppm")
    residual = File(exists=True, mandatory=True, desc="local field minus field of the map, ppm")
    chi = File(exists=True, mandatory=True, desc="ppm")
    brain = File(exists=True, mandatory=True, desc="the whole brain")
    known = File(exists=True, mandatory=True, desc="where the local field is known")
    valid = File(exists=True, mandatory=True, desc="where the map is valid")
    echo_times_s = traits.List(traits.Float, mandatory=True)
    b0_tesla = traits.Float(mandatory=True)
    limits = traits.Dict(usedefault=True, desc="those that differ from the defaults")


class AssessQualityOutputSpec(TraitedSpec):
    """Outputs of `AssessQuality`."""

    metrics = traits.List(traits.Dict, desc="the fields of each metric, and its warning")
    verdict = traits.Dict(desc="as in the sidecar")


class AssessQuality(NumericInterface):
    """Compute the quality metrics of a run."""

    input_spec = AssessQualityInputSpec
    output_spec = AssessQualityOutputSpec

    def _compute(self, folder: Path) -> dict[str, Any]:
        from qsm_pipeline.io.volumes import load_grid, load_mask, load_tensor
        from qsm_pipeline.numerics.core.head_size import head_sized
        from qsm_pipeline.numerics.quality.assess import WholeVolume, assess
        from qsm_pipeline.numerics.quality.assessed import Assessed, Measured
        from qsm_pipeline.numerics.quality.sampling import box_around
        from qsm_pipeline.numerics.quality.verdict import judge

        inputs = self.inputs

        masks = {
            name: load_mask(getattr(inputs, name), device=inputs.device)
            for name in ("brain", "known", "valid")
        }
        grid = load_grid(inputs.chi)
        sized = head_sized(grid, masks["brain"])
        first, size = (
            load_tensor(path, device=inputs.device, echo=0)
            for path in (inputs.raw_phase, inputs.magnitude)
        )
        whole = WholeVolume.of(grid, sized, (first, size))
        del first, size
        box = box_around(masks["brain"] | masks["known"] | masks["valid"], grid, sized)

        def load(name: str) -> Any:
            return load_tensor(getattr(inputs, name), device=inputs.device, box=box.slices)

        measured = Measured(
            magnitude=load("magnitude"),
            raw_rad=load("raw_phase"),
            wrapped_rad=load("phase"),
            unwrapped_rad=load("unwrapped"),
            relative_residual=load("relative_residual"),
            total_field_ppm=load("total_field"),
            echo_times_s=tuple(inputs.echo_times_s),
            b0_tesla=inputs.b0_tesla,
        )
        run = Assessed(
            weights=load("weights"),
            unsure=load_mask(inputs.unsure, device=inputs.device, box=box.slices),
            local_field_ppm=load("local_field"),
            field_residual_ppm=load("residual"),
            chi_ppm=load("chi"),
            **{name: box.cut(mask) for name, mask in masks.items()},
            grid=box.inner,
            measured=measured,
        )
        metrics = assess(run, check_limits(inputs.limits), whole)
        return {
            "metrics": [asdict(m) | {"warning": m.warning} for m in metrics],
            "verdict": in_words(judge(metrics)),
        }


class WriteQualityInputSpec(BaseInterfaceInputSpec):
    """Inputs of `WriteQuality`."""

    out_dir = traits.Str(mandatory=True)
    run = traits.Dict(mandatory=True, desc="GreRun.to_dict()")
    metrics = traits.List(traits.Dict, mandatory=True)
    verdict = traits.Dict(mandatory=True)


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
            "Description": "The verdict on a susceptibility map, and the quality metrics that it "
            "rests on. A value of null could not be computed; a warning that is not empty tells "
            "that a limit is not kept.",
            "Sources": [f"bids::{chi}"],
            "Verdict": self.inputs.verdict,
            "Metrics": metrics,
            "Software": software_versions(),
        }
        write_json(path, data)
        self._results = {"written": [str(path)]}
        return runtime
