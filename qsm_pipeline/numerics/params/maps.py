"""Parameters of what is made of the map."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WeightingParams:
    """How strongly the magnitude is darkened.

    Parameters
    ----------
    phase_power : int
        How often the mask made of the phase is multiplied (doi:10.1002/mrm.20198).
    chi_full_ppm : float
        Susceptibility above which the mask made of the susceptibility is zero.
    chi_power : int
        How often that mask is multiplied (doi:10.1002/jmri.24413).
    slab_mm : float
        Thickness of the slab of the minimum-intensity projection.
    """

    phase_power: int = 4
    chi_full_ppm: float = 0.45
    chi_power: int = 2
    slab_mm: float = 16.0

    def __post_init__(self) -> None:
        if min(self.phase_power, self.chi_power) < 1 or min(self.chi_full_ppm, self.slab_mm) <= 0:
            raise ValueError(f"Powers must be at least 1 and the others positive, got {self}")
