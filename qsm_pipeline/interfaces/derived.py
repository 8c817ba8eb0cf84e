"""The node that makes the images for the eye."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from nipype.interfaces.base import File, TraitedSpec, traits

from qsm_pipeline.interfaces._base import NumericInputSpec, NumericInterface, as_dict
from qsm_pipeline.numerics.params.maps import WeightingParams
from qsm_pipeline.steps.provenance import Provenance


class WeightMagnitudeInputSpec(NumericInputSpec):
    """Inputs of `WeightMagnitude`."""

    magnitude = File(exists=True, mandatory=True, desc="4D magnitude")
    local_field = File(exists=True, mandatory=True, desc="ppm")
    chi = File(exists=True, mandatory=True, desc="ppm")
    mask = File(exists=True, mandatory=True, desc="where the map is valid")
    echo_times_s = traits.List(traits.Float, mandatory=True)
    b0_tesla = traits.Float(mandatory=True)


class WeightMagnitudeOutputSpec(TraitedSpec):
    """Outputs of `WeightMagnitude`."""

    swi = File(exists=True, desc="weighted by the local field")
    tswi = File(exists=True, desc="weighted by the susceptibility")
    minip = File(exists=True, desc="minimum of swi over a slab")
    provenance = traits.Dict(desc="echo and strength, for the sidecar")


class WeightMagnitude(NumericInterface):
    """Make susceptibility-weighted images of one echo."""

    input_spec = WeightMagnitudeInputSpec
    output_spec = WeightMagnitudeOutputSpec

    def _compute(self, folder: Path) -> dict[str, Any]:
        import torch

        from qsm_pipeline.io.volumes import load_grid, load_mask, load_tensor, save_tensor
        from qsm_pipeline.numerics.maps.swi import (
            chi_weighted,
            minimum_projection,
            phase_weighted,
            weighting_echo,
        )

        inputs = self.inputs
        params = WeightingParams()
        times = tuple(inputs.echo_times_s)
        echo = weighting_echo(times, inputs.b0_tesla)
        grid = load_grid(inputs.chi)
        mask = load_mask(inputs.mask, device=inputs.device)
        magnitude = load_tensor(inputs.magnitude, device=inputs.device)[echo]
        magnitude = torch.where(mask, magnitude, 0.0)
        field = load_tensor(inputs.local_field, device=inputs.device)
        swi = phase_weighted(magnitude, field, times[echo], inputs.b0_tesla, params)
        images = {
            "swi": swi,
            "tswi": chi_weighted(magnitude, load_tensor(inputs.chi, device=inputs.device), params),
            "minip": minimum_projection(swi, mask, grid, params.slab_mm),
        }
        saved = {k: save_tensor(v, inputs.chi, folder / f"{k}.nii") for k, v in images.items()}
        provenance = Provenance(
            {"SusceptibilityWeighting": asdict(params)}, {"WeightingEchoTime": times[echo]}
        )
        return saved | {"provenance": as_dict(provenance)}
