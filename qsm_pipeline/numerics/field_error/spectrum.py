"""The spectrum of a local field's error: white noise above a knee, coloured below it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

LOWEST_PER_MM = 0.01
"""Errors longer than 100 mm count as if they were that long."""


@dataclass(frozen=True)
class FieldError:
    r"""The error of a local field: :math:`n(k)^2=n_0^2\,(1+(k_c/|k|)^p)`.

    Parameters
    ----------
    n0_ppm : float
        Standard deviation of the white part in a voxel whose weight is 1; above 0.
    knee_per_mm : float
        Frequency :math:`k_c` below which the error is coloured; 0 for white noise.
    power : float
        How steeply the coloured part rises towards low frequencies.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """

    n0_ppm: float
    knee_per_mm: float = 0.0
    power: float = 3.0

    def __post_init__(self) -> None:
        if not (self.n0_ppm > 0 and self.knee_per_mm >= 0 and self.power > 0):
            raise ValueError(f"Expected n0_ppm > 0, knee_per_mm >= 0 and power > 0, got {self}")

    def density(self, frequency_per_mm: Tensor) -> Tensor:
        """Return :math:`n(k)^2` in ppm^2: the variance of white noise that is as strong there."""
        return self.n0_ppm**2 + self.coloured_density(frequency_per_mm)

    def coloured_density(self, frequency_per_mm: Tensor) -> Tensor:
        """Return what :meth:`density` holds above its white part."""
        bounded = frequency_per_mm.abs().clamp(min=LOWEST_PER_MM)
        return self.n0_ppm**2 * (self.knee_per_mm / bounded) ** self.power

    def at_least(self, n0_ppm: float) -> FieldError:
        """Return the error with no less white noise than this, and its coloured part as it is."""
        if n0_ppm <= self.n0_ppm:
            return self
        knee = self.knee_per_mm * (self.n0_ppm / n0_ppm) ** (2 / self.power)
        return FieldError(n0_ppm, knee, self.power)
