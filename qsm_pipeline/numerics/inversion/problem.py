"""What every dipole-inversion method is given."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from qsm_pipeline.numerics.field_error import FieldError, estimate_field_error
from qsm_pipeline.numerics.grid import Grid

LEAST_NOISE = 0.03
"""Over the standard deviation of the field: no field is believed to be less noisy."""
UNKNOWN_NOISE_PPM = 1e-3
"""Where nothing is known of a field's error."""


@dataclass(frozen=True)
class InversionProblem:
    """A local field to be inverted; every method returns susceptibility in ppm, (X, Y, Z).

    Parameters
    ----------
    local_field_ppm : torch.Tensor, shape (X, Y, Z)
        Field in ppm; zero outside the mask.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where the field is valid.
    grid : Grid
        Geometry.
    weights : torch.Tensor, shape (X, Y, Z), optional
        Reliability in [0, 1], proportional to the inverse standard deviation of the field.
    magnitude : torch.Tensor, shape (X, Y, Z), optional
        Magnitude image in any unit, for methods that use its edges.
    noise_ppm : float, optional
        Standard deviation of the field's noise where ``weights`` is 1.
    rad_per_ppm : float, optional
        Phase in radians of a field of 1 ppm, for methods that fit the complex signal.
    residual_background : bool
        Whether background removal made the field, which then still holds a little of the field
        of sources outside the mask; False for the exact field of the sources inside.
    field_error : FieldError, optional
        Error of the field where it is known already; else it is estimated once, from the field.
    """

    local_field_ppm: Tensor
    mask: Tensor
    grid: Grid
    weights: Tensor | None = None
    magnitude: Tensor | None = None
    noise_ppm: float | None = None
    rad_per_ppm: float | None = None
    residual_background: bool = False
    field_error: FieldError | None = None

    @cached_property
    def error(self) -> FieldError:
        """The error of the field: as given, else as estimated, else white.

        Where it is estimated, its white part is at least `LEAST_NOISE` of the field: the dipole
        model itself is no better at the edge of the mask.
        """
        if self.field_error is not None:
            return self.field_error
        found = estimate_field_error(self.local_field_ppm, self.mask, self.grid, self.weights)
        found = found or FieldError(self.noise_ppm or UNKNOWN_NOISE_PPM)
        return found.at_least(LEAST_NOISE * self.spread_ppm)

    @cached_property
    def spread_ppm(self) -> float:
        """Standard deviation of the field in the mask, 0 where it has less than two voxels."""
        inside = self.local_field_ppm[self.mask]
        return float(inside.std()) if inside.numel() > 1 else 0.0
