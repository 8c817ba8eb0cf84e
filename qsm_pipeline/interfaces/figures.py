"""The node that draws the figures of a stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from qsm_pipeline.bids.derivatives import write_atomic
from qsm_pipeline.bids.naming import figure_path
from qsm_pipeline.bids.run import GreRun
from qsm_pipeline.reports.figures import FIGURES, STAGES, Scene

_VOLUMES = (
    "magnitude",
    "phase",
    "combined",
    "brain_mask",
    "reliable",
    "quality",
    "unwrapped",
    "total_field",
    "weights",
    "local_field",
    "chi",
    "qsm_mask",
    "predicted_field",
    "residual",
    "uncertainty",
    "unsure",
    "r2star",
    "t2star",
    "s0",
    "swi",
    "minip",
    "tswi",
)


class DrawFiguresInputSpec(BaseInterfaceInputSpec):
    """Inputs of `DrawFigures`: its stage, and what there is to be drawn by then."""

    out_dir = traits.Str(mandatory=True)
    run = traits.Dict(mandatory=True, desc="GreRun.to_dict()")
    stage = traits.Enum(*STAGES, mandatory=True)
    magnitude = File(exists=True, desc="4D")
    phase = File(exists=True, desc="4D, rad")
    combined = File(exists=True, desc="magnitude of all echoes")
    brain_mask = File(exists=True)
    reliable = File(desc="part of the mask that is mapped first")
    quality = File(exists=True, desc="of the phase, from 0 to 1")
    unwrapped = File(exists=True, desc="4D, rad")
    total_field = File(exists=True, desc="ppm")
    weights = File(exists=True, desc="from 0 to 1")
    local_field = File(exists=True, desc="ppm")
    chi = File(exists=True, desc="ppm")
    qsm_mask = File(exists=True)
    predicted_field = File(exists=True, desc="ppm")
    residual = File(exists=True, desc="ppm")
    field_error = traits.Dict(desc="provenance of the inversion, which holds it")
    uncertainty = File(desc="ppm")
    unsure = File(exists=True, desc="strong sources, where the field may be wrong")
    r2star = File(exists=True, desc="1/s")
    t2star = File(exists=True, desc="s")
    s0 = File(exists=True, desc="signal at echo time zero")
    swi = File(exists=True)
    minip = File(exists=True)
    tswi = File(exists=True)


class DrawFiguresOutputSpec(TraitedSpec):
    """Outputs of `DrawFigures`."""

    written = traits.List(File(exists=True))


class DrawFigures(SimpleInterface):
    """Draw the figures of a stage into the derivatives, and remove those of an earlier run."""

    input_spec = DrawFiguresInputSpec
    output_spec = DrawFiguresOutputSpec
    always_run = True  # the figures live outside the work directory and may have been removed

    def _run_interface(self, runtime: Any) -> Any:
        run = GreRun.from_dict(self.inputs.run)
        given = {name: getattr(self.inputs, name) for name in _VOLUMES}
        inversion = self.inputs.field_error if isdefined(self.inputs.field_error) else {}
        scene = Scene(
            {n: str(path) for n, path in given.items() if isdefined(path) and path},
            inversion.get("parameters", {}).get("FieldError"),
        )
        written = []
        for name in STAGES[self.inputs.stage]:
            path = Path(self.inputs.out_dir) / figure_path(run.entities, name, run.suffix)
            figure = FIGURES[name]
            if all(scene.has(name) for name in figure.needs):
                write_atomic(path, figure.draw(scene))
                written.append(str(path))
            else:
                path.unlink(missing_ok=True)
        self._results = {"written": written}
        return runtime
