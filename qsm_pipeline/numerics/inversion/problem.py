"""What every dipole-inversion method is given."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from qsm_pipeline.numerics.field_error import FieldError
from qsm_pipeline.numerics.grid import Grid


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
    field_error : FieldError, optional
        Spectrum of the field's error where ``weights`` is 1, for methods that know of it.
    residual_background : bool
        Whether background removal made the field, which then still holds a little of the field
        of sources outside the mask; False for the exact field of the sources inside.
    """

    local_field_ppm: Tensor
    mask: Tensor
    grid: Grid
    weights: Tensor | None = None
    magnitude: Tensor | None = None
    noise_ppm: float | None = None
    rad_per_ppm: float | None = None
    field_error: FieldError | None = None
    residual_background: bool = False
