"""Parameters of the field fit and of how far the field is trusted."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class WeightedFitParams:
    """Parameters of the weighted line through the unwrapped phase.

    Parameters
    ----------
    dephased_residual : float
        Late echoes are left out in voxels where the line leaves a larger fraction of the signal
        unexplained, in (0, 1]. Where the field is steep within a voxel its signal dephases, and
        the phase of the rest is no longer that of the mean field.
    """

    dephased_residual: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.dephased_residual <= 1:
            raise ValueError(f"Expected 0 < dephased_residual <= 1, got {self.dephased_residual}")


@dataclass(frozen=True)
class NonlinearFitParams:
    """Parameters of the fit of the complex signal.

    Parameters
    ----------
    max_iterations : int
        Largest number of Gauss-Newton steps, at least 1.
    """

    max_iterations: int = 20

    def __post_init__(self) -> None:
        if self.max_iterations < 1:
            raise ValueError(f"Expected max_iterations >= 1, got {self.max_iterations}")


@dataclass(frozen=True)
class ReliabilityParams:
    """Which voxels of the field are excluded, and which count less.

    Parameters
    ----------
    max_relative_residual : float
        Voxels get no weight where the field fit leaves a larger fraction of the signal
        unexplained, in (0, 1] (doi:10.1002/mrm.30006).
    max_step_rad : float
        Voxels are excluded whose phase at the first echo differs by more from a neighbour's, in
        radians, in (0, pi]: unwrapping is ambiguous there and beyond.
    steep_ppm : float
        A field that changes by this much from voxel to voxel, in ppm, gets half the weight.
    """

    max_relative_residual: float = 0.3
    max_step_rad: float = 0.5 * math.pi
    steep_ppm: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.max_relative_residual <= 1 or not 0 < self.max_step_rad <= math.pi:
            raise ValueError(
                f"Expected 0 < max_relative_residual <= 1 and 0 < max_step_rad <= pi, got {self}"
            )
        if not self.steep_ppm > 0:
            raise ValueError(f"Expected steep_ppm > 0, got {self.steep_ppm}")


@dataclass(frozen=True)
class RimWeightParams:
    """How the local field counts near the surface of its mask.

    Parameters
    ----------
    rim_mm : float
        Depth below the surface, in mm, from which the local field counts fully.
    """

    rim_mm: float = 4.0

    def __post_init__(self) -> None:
        if not self.rim_mm >= 0:
            raise ValueError(f"Expected rim_mm >= 0, got {self.rim_mm}")
