"""What every unwrapping method is given."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from qsm_pipeline.numerics.core.contracts import (
    check_echo_times,
    check_finite,
    check_mask,
    check_volume,
)
from qsm_pipeline.numerics.core.grid import Grid


@dataclass(frozen=True)
class UnwrapProblem:
    """Wrapped multi-echo phase.

    Parameters
    ----------
    phase_rad : torch.Tensor, shape (E, X, Y, Z)
        Wrapped phase; finite inside the mask.
    mask : torch.Tensor, shape (X, Y, Z), bool
        Where to unwrap; the result is zero elsewhere.
    echo_times_s : tuple of float, length E
        Increasing.
    grid : Grid
        Geometry.
    magnitude : torch.Tensor, shape (E, X, Y, Z), optional
        Magnitude in any unit.

    Raises
    ------
    TypeError, ValueError
        If something does not fit; the message says what was got and expected.
    """

    phase_rad: Tensor
    mask: Tensor
    echo_times_s: tuple[float, ...]
    grid: Grid
    magnitude: Tensor | None = None

    def __post_init__(self) -> None:
        echoes = (self.phase_rad.shape[0], *self.grid.shape)
        check_volume("phase_rad", self.phase_rad, echoes)
        check_mask("mask", self.mask, self.grid.shape, empty=False)
        check_echo_times(self.echo_times_s, echoes[0])
        check_finite("phase_rad", self.phase_rad, self.mask)
        if self.magnitude is not None:
            check_volume("magnitude", self.magnitude, echoes)
            check_finite("magnitude", self.magnitude, self.mask)
