"""What every unwrapping method is given."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

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
    """

    phase_rad: Tensor
    mask: Tensor
    echo_times_s: tuple[float, ...]
    grid: Grid
    magnitude: Tensor | None = None

    def __post_init__(self) -> None:
        if self.phase_rad.shape[0] != len(self.echo_times_s):
            raise ValueError(
                f"{len(self.echo_times_s)} echo times were given for a phase of "
                f"{self.phase_rad.shape[0]} echoes"
            )
        if not self.mask.any():
            raise ValueError("The mask to unwrap in is empty")
