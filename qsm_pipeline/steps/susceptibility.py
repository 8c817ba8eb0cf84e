"""Invert the local field to susceptibility."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from qsm_pipeline.cycleqsm.shipped_generator import SHA256, SHIPPED
from qsm_pipeline.numerics.core.bounding_box import BoundingBox
from qsm_pipeline.numerics.core.contracts import check_mask, check_volume
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.head_size import head_sized
from qsm_pipeline.numerics.field.reliability import rim_weight
from qsm_pipeline.numerics.inversion.problem import InversionProblem
from qsm_pipeline.numerics.inversion.reconstruction import Reconstruction
from qsm_pipeline.numerics.maps.unsure import widened_error_ppm
from qsm_pipeline.numerics.params.field import RimWeightParams
from qsm_pipeline.numerics.quality.sign import INVERTED, asymmetry
from qsm_pipeline.steps import methods as registry
from qsm_pipeline.steps.local_field import LocalField
from qsm_pipeline.steps.provenance import Provenance


@dataclass(frozen=True)
class SusceptibilityMap:
    """A susceptibility map.

    Parameters
    ----------
    chi_ppm : torch.Tensor, shape (X, Y, Z)
        Susceptibility, paramagnetic positive; zero outside ``mask``. Its mean is arbitrary
        before a reference is subtracted.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where it has values.
    grid : Grid
        Geometry.
    uncertainty_ppm : torch.Tensor, shape (X, Y, Z), optional
        Expected error (one standard deviation), where the method knows it.
    unsure : torch.Tensor, shape (X, Y, Z), bool, optional
        Voxels where the map may be wrong: in and around strong sources, and where no field is
        known.
    provenance : Provenance
        How it was made.
    """

    chi_ppm: Tensor
    mask: Tensor
    grid: Grid
    uncertainty_ppm: Tensor | None = None
    unsure: Tensor | None = None
    provenance: Provenance = field(default_factory=Provenance)

    @property
    def valid(self) -> Tensor:
        """Where the map can be trusted, shape (X, Y, Z), bool."""
        return self.mask if self.unsure is None else self.mask & ~self.unsure


def invert_dipole(
    local: LocalField,
    magnitude: Tensor | None = None,
    *,
    method: str = registry.default("inversion"),
    params: Mapping[str, Any] | None = None,
) -> SusceptibilityMap:
    """Invert a local field.

    A measured field counts less near the surface of its mask, where the background cannot be told
    from the field of the brain.

    Parameters
    ----------
    local : LocalField
        The field with its weights.
    magnitude : torch.Tensor, shape (X, Y, Z), optional
        Magnitude image in any unit, for methods that use its edges.
    method : str
        A method of the stage ``inversion``.
    params : mapping, optional
        Parameters that differ from the method's defaults.

    Returns
    -------
    SusceptibilityMap
        The map, valid in the brain if the method fills gaps, else where the field is.

    Raises
    ------
    ValueError
        If the map is not finite.
    """
    chosen = registry.method("inversion", method)
    used = chosen.with_values(params)
    brain = local.mask if local.brain is None else local.brain
    mask = brain if chosen.fills_gaps else local.mask
    check_mask("mask", mask, local.grid.shape, empty=False)
    if magnitude is not None:
        check_volume("magnitude", magnitude, local.grid.shape)
    box = BoundingBox.of(mask, head_sized(local.grid, brain))  # beyond, the map is zero
    mask, known = box.cut(mask), box.cut(local.mask)
    weights = known.float() if local.weights is None else box.cut(local.weights) * known
    parameters: dict[str, Any] = {"Inversion": chosen.name, "InversionParameters": asdict(used)}
    if local.measured:
        rim = RimWeightParams()
        weights = weights * rim_weight(known, box.inner, rim)
        parameters["RimWeight"] = asdict(rim)
    problem = InversionProblem(
        local_field_ppm=box.cut(local.local_field_ppm),
        mask=mask,
        grid=box.inner,
        weights=weights,
        magnitude=None if magnitude is None else box.cut(magnitude),
        noise_ppm=local.noise_ppm,
        rad_per_ppm=local.mean_rad_per_ppm,
        residual_background=local.measured,
    )
    result = chosen.function(problem, used)
    error = vars(problem).get("error")  # estimated if the method asked for it
    if error is not None:
        parameters["FieldError"] = asdict(error)
    if not isinstance(result, Reconstruction):
        result = Reconstruction(result, None)
    if not result.chi_ppm.isfinite().all():
        raise ValueError(
            f"{method} gave values that are not finite with the parameters "
            f"{dict(params or {}) or 'it has by default'}; check them, and the generator if it is "
            "one of your own"
        )
    if chosen.name == "cycleqsm" and not parameters["InversionParameters"]["generator"]:
        parameters["Generator"] = f"{SHIPPED}, SHA-256 {SHA256[SHIPPED]}"
    strong = torch.zeros_like(mask) if local.unsure is None else box.cut(local.unsure) & mask
    unknown = mask & ~known
    uncertainty = result.uncertainty_ppm
    if uncertainty is not None:
        uncertainty = widened_error_ppm(uncertainty, result.chi_ppm, strong, unknown) * mask
        uncertainty = box.paste(uncertainty)
    warnings: tuple[str, ...] = ()
    evidence = asymmetry(result.chi_ppm, known & ~strong) if local.measured else None
    if evidence is not None and evidence < INVERTED:
        warnings = (
            "What should be veins and nuclei is diamagnetic, so the sign of the phase is probably "
            "the wrong one: check Manufacturer in the sidecars, and the conversion",
        )
    return SusceptibilityMap(
        box.paste(result.chi_ppm),
        box.paste(mask),
        local.grid,
        uncertainty,
        box.paste(strong | unknown),
        Provenance(parameters, warnings=warnings),
    )
