"""What every background-removal method is given and returns."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from qsm_pipeline.numerics.core.contracts import (
    check_finite,
    check_mask,
    check_volume,
    check_weights,
)
from qsm_pipeline.numerics.core.grid import Grid


@dataclass(frozen=True)
class BackgroundProblem:
    """A total field to be cleaned.

    Parameters
    ----------
    total_field_ppm : torch.Tensor, shape (X, Y, Z)
        Field in ppm; anything outside the mask is ignored.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where the field is known.
    grid : Grid
        Geometry.
    weights : torch.Tensor, shape (X, Y, Z), optional
        Reliability in [0, 1], proportional to the inverse standard deviation of the field.

    Raises
    ------
    TypeError, ValueError
        If something does not fit; the message says what was got and expected.
    """

    total_field_ppm: Tensor
    mask: Tensor
    grid: Grid
    weights: Tensor | None = None

    def __post_init__(self) -> None:
        shape = self.grid.shape
        check_mask("mask", self.mask, shape, empty=False)
        check_volume("total_field_ppm", self.total_field_ppm, shape)
        check_finite("total_field_ppm", self.total_field_ppm, self.mask)
        if self.weights is not None:
            check_volume("weights", self.weights, shape)
            check_weights("weights", self.weights, self.mask)


@dataclass(frozen=True)
class LocalField:
    """The part of the field that has its sources inside the mask.

    Parameters
    ----------
    local_field_ppm : torch.Tensor, shape (X, Y, Z)
        Field in ppm; zero outside ``mask``.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where the local field is valid: the input mask or an erosion of it.
    """

    local_field_ppm: Tensor
    mask: Tensor
