"""What all nodes share: device, threads, results in the node's own directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    isdefined,
    traits,
)

from qsm_pipeline.steps.provenance import Provenance

if TYPE_CHECKING:
    from qsm_pipeline.steps.scan import Scan


class NumericInputSpec(BaseInterfaceInputSpec):
    """Inputs of every node that runs tensors."""

    device = traits.Str("cpu", usedefault=True, nohash=True, desc="torch device")
    use_gpu = traits.Bool(False, usedefault=True, nohash=True, desc="takes a GPU slot of nipype")
    num_threads = traits.Int(1, usedefault=True, nohash=True, desc="threads for torch")


class ScanInputSpec(NumericInputSpec):
    """Inputs of every node that needs the echoes of a scan."""

    phase = File(exists=True, mandatory=True, desc="4D phase in rad")
    magnitude = File(exists=True, mandatory=True, desc="4D magnitude")
    mask = File(exists=True, mandatory=True)
    echo_times_s = traits.List(traits.Float, mandatory=True)
    b0_tesla = traits.Float(mandatory=True)


def load_scan(inputs: Any, **options: Any) -> Scan:
    """Return the scan of a node's inputs; ``options`` are further fields of `Scan`."""
    from qsm_pipeline.io.volumes import load_tensor
    from qsm_pipeline.steps.scan import Scan

    return Scan(
        load_tensor(inputs.phase, device=inputs.device),
        load_tensor(inputs.magnitude, device=inputs.device),
        tuple(inputs.echo_times_s),
        inputs.b0_tesla,
        nib.load(inputs.phase).affine,
        **options,
    )


def as_dict(provenance: Provenance) -> dict[str, Any]:
    """Return a provenance as nipype hands it on."""
    return {
        "parameters": dict(provenance.parameters),
        "facts": dict(provenance.facts),
        "warnings": list(provenance.warnings),
    }


class NumericInterface(SimpleInterface):
    """A node that loads tensors, calls one function and saves what it returns.

    Subclasses implement ``_compute(folder)`` and return the outputs as a dictionary.
    """

    def _run_interface(self, runtime: Any) -> Any:
        import torch

        torch.set_num_threads(max(1, self.inputs.num_threads))
        torch.set_flush_denormal(True)  # denormal numbers slow FFTs down
        with torch.inference_mode():
            self._results.update(self._compute(Path(runtime.cwd)))
        return runtime

    def _compute(self, folder: Path) -> dict[str, Any]:
        raise NotImplementedError

    def _get(self, name: str, default: Any = None) -> Any:
        """Return an optional input, or ``default`` where it was not given."""
        value = getattr(self.inputs, name)
        return value if isdefined(value) and value != "" else default
