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


@dataclass(frozen=True)
class CsfReferenceParams:
    """Parameters of the reference to the cerebrospinal fluid of the ventricles.

    Parameters
    ----------
    max_r2star_per_s : float
        R2* of CSF is lower than this, in 1/s.
    max_distance_mm : float
        The ventricles lie closer than this to the centre of the brain, in mm.
    parts : int
        Largest number of connected parts, at least 1.
    """

    max_r2star_per_s: float = 5.0
    max_distance_mm: float = 30.0
    parts: int = 3

    def __post_init__(self) -> None:
        if not min(self.max_r2star_per_s, self.max_distance_mm) > 0 or self.parts < 1:
            raise ValueError(
                f"Expected max_r2star_per_s > 0, max_distance_mm > 0 and parts >= 1, got {self}"
            )
