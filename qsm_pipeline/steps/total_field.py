"""Fit the total field to the unwrapped phase, with its reliability."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace

from torch import Tensor

from qsm_pipeline.numerics.core.bounding_box import BoundingBox
from qsm_pipeline.numerics.core.contracts import (
    check_finite,
    check_mask,
    check_volume,
    check_weights,
)
from qsm_pipeline.numerics.core.grid import Grid
from qsm_pipeline.numerics.core.units import rad_per_s_per_ppm
from qsm_pipeline.numerics.core.voxels import any_of
from qsm_pipeline.numerics.field.fit import nonlinear_field_fit, weighted_field_fit
from qsm_pipeline.numerics.field.reliability import reliability, steepness_weight
from qsm_pipeline.numerics.field.trust import find_trust
from qsm_pipeline.numerics.params.field import ReliabilityParams
from qsm_pipeline.steps import methods as registry
from qsm_pipeline.steps.provenance import Provenance
from qsm_pipeline.steps.scan import Scan


@dataclass(frozen=True)
class TotalField:
    """The total field and how reliable it is.

    Parameters
    ----------
    total_field_ppm : torch.Tensor, shape (X, Y, Z)
        Field of all sources.
    trusted : torch.Tensor, shape (X, Y, Z), bool
        Where its phase cannot be aliased, and strong sources within.
    grid : Grid
        Geometry.
    weights : torch.Tensor, shape (X, Y, Z), optional
        Reliability in [0, 1], proportional to the inverse standard deviation of the field.
    noise_ppm : float, optional
        Standard deviation of the field where the weight is 1.
    relative_residual : torch.Tensor, shape (X, Y, Z), optional
        Part of the signal that the fit does not explain.
    unsure : torch.Tensor, shape (X, Y, Z), bool, optional
        Voxels of ``trusted`` in and around strong sources, whose field may be wrong.
    echoes : int
        How many it was fitted to.
    mean_rad_per_ppm : float, optional
        Phase in radians of a field of 1 ppm at the mean echo time.
    left_out : int, optional
        An echo, from 0, that does not fit the others.
    provenance : Provenance
        How it was fitted.

    Raises
    ------
    TypeError, ValueError
        If something does not fit.
    """

    total_field_ppm: Tensor
    trusted: Tensor
    grid: Grid
    weights: Tensor | None = None
    noise_ppm: float | None = None
    relative_residual: Tensor | None = None
    unsure: Tensor | None = None
    echoes: int = 1
    mean_rad_per_ppm: float | None = None
    left_out: int | None = None
    provenance: Provenance = field(default_factory=Provenance)

    def __post_init__(self) -> None:
        check_mask("trusted", self.trusted, self.grid.shape)
        check_volume("total_field_ppm", self.total_field_ppm, self.grid.shape)
        check_finite("total_field_ppm", self.total_field_ppm, self.trusted)
        if self.weights is not None:
            check_volume("weights", self.weights, self.grid.shape)
            check_weights("weights", self.weights, self.trusted)

    def within(self, box: BoundingBox) -> TotalField:
        """Return the part of the field in a box."""

        def cut(x: Tensor | None) -> Tensor | None:
            return None if x is None else box.cut(x)

        return replace(
            self,
            total_field_ppm=box.cut(self.total_field_ppm),
            trusted=box.cut(self.trusted),
            grid=replace(self.grid, shape=box.inner.shape),
            weights=cut(self.weights),
            relative_residual=cut(self.relative_residual),
            unsure=cut(self.unsure),
        )


def fit_total_field(
    scan: Scan, mask: Tensor, *, method: str = registry.default("field_fit")
) -> TotalField:
    """Fit the field to the unwrapped phase of all echoes, and find where it can be trusted.

    Parameters
    ----------
    scan : Scan
        With unwrapped phase that is proportional to the echo time.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where to fit.
    method : {"weighted", "nonlinear"}
        Weighted line, or a fit of the complex signal. A single echo is a line through the origin
        whatever is chosen.

    Returns
    -------
    TotalField
        The field with its weights.

    Raises
    ------
    ValueError
        If the method is unknown, or no voxel has usable phase.
    """
    chosen = registry.method("field_fit", method)
    check_mask("mask", mask, scan.grid.shape, empty=False)
    times, tesla = scan.echo_times_s, scan.b0_tesla
    several = len(times) > 1
    chosen = chosen if several else registry.method("field_fit", "weighted")
    params = chosen.params()
    box = BoundingBox.of(mask, scan.grid)
    scan, mask = scan.within(box), box.cut(mask)
    echoes = (scan.phase_rad, scan.magnitude, mask, times, tesla)
    if chosen.name == "weighted":
        fit = weighted_field_fit(*echoes, params)
    else:
        start = weighted_field_fit(*echoes).total_field_ppm * rad_per_s_per_ppm(tesla)
        fit = nonlinear_field_fit(*echoes, start, params)
    limits = ReliabilityParams()
    weights, noise_ppm = reliability(fit.field_noise_ppm, fit.relative_residual, mask, limits)
    trust = find_trust(fit.total_field_ppm, mask, times, tesla, weights, limits)
    trusted = trust.mask
    if not any_of(trusted):
        raise ValueError(
            "No voxel of the mask has usable phase: all neighbours differ by more than a "
            "quarter turn; check that the images are phase and the mask is the brain"
        )
    weights = weights * steepness_weight(fit.total_field_ppm, trusted, limits) * ~trust.lost
    parameters = {
        "FieldFit": chosen.name,
        "FieldFitParameters": asdict(params) if several else {},
        "ExclusionParameters": asdict(limits),
    }
    return TotalField(
        box.paste(fit.total_field_ppm),
        box.paste(trusted),
        box.grid,
        box.paste(weights),
        noise_ppm,
        box.paste(fit.relative_residual),
        box.paste(trust.unsure),
        len(times),
        scan.mean_rad_per_ppm,
        provenance=Provenance(parameters),
    )
