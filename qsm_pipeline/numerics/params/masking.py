"""Parameters of brain masks and their edges."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RobustMaskParams:
    """Parameters of the mask by a threshold of the magnitude.

    Parameters
    ----------
    opening_mm : float
        Bridges thinner than twice this, in mm, are cut (skull, optic nerves).
    """

    opening_mm: float = 4.0

    def __post_init__(self) -> None:
        if not self.opening_mm >= 0:
            raise ValueError(f"Expected opening_mm >= 0, got {self.opening_mm}")


@dataclass(frozen=True)
class RefinementParams:
    """Parameters of the refinement of a mask by phase quality.

    Parameters
    ----------
    threshold : float
        Least phase quality of the edge, in [0, 1]. Noise has about 0.01, brain about 0.9.
    grow_mm : float
        How far the mask may grow, in mm; if not 0, at least one voxel along each axis.
    depth_mm : float
        How deep below the edge of the given mask voxels may be taken away, in mm.
    """

    threshold: float = 0.2
    grow_mm: float = 1.5
    depth_mm: float = 10.0

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1 or not min(self.grow_mm, self.depth_mm) >= 0:
            raise ValueError(
                f"Expected 0 <= threshold <= 1, grow_mm >= 0 and depth_mm >= 0, got {self}"
            )


@dataclass(frozen=True)
class FieldRegionParams:
    """Parameters of the region around the mask where the field is measured too.

    Parameters
    ----------
    threshold : float
        Least phase quality outside the mask, in [0, 1].
    margin_mm : float
        How far the field is used beyond the mask, in mm. Voxels thicker than this are not used:
        they hold skull and fat, which made the edge of a real head of 3.4 mm worse.
    """

    threshold: float = 0.2
    margin_mm: float = 3.0

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1 or not self.margin_mm >= 0:
            raise ValueError(f"Expected 0 <= threshold <= 1 and margin_mm >= 0, got {self}")


@dataclass(frozen=True)
class TwoPassParams:
    """Parameters of two passes: the reliable voxels alone, then the whole mask.

    Parameters
    ----------
    threshold : float
        Least phase quality of a voxel of the first pass, in [0, 1].
    """

    threshold: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"Expected 0 <= threshold <= 1, got {self.threshold}")
