"""Parameters of background field removal."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LbvParams:
    """Parameters of LBV.

    Parameters
    ----------
    screening_mm : float
        Waves of the local field longer than about six times this are damped: it is in them that
        the error of the values on the surface, which hold the local field too, reaches deep into
        the mask. Infinite for LBV as published.
    tolerance : float
        Relative residual at which the multigrid-preconditioned conjugate gradients stop.
    max_iterations : int
        Largest number of iterations.
    """

    screening_mm: float = 12.0
    tolerance: float = 1e-3
    max_iterations: int = 60

    def __post_init__(self) -> None:
        if not self.screening_mm > 0:
            raise ValueError(f"Expected screening_mm > 0, got {self.screening_mm}")
        if not self.tolerance > 0 or self.max_iterations < 1:
            raise ValueError(f"Expected a positive tolerance and an iteration, got {self}")


@dataclass(frozen=True)
class PdfParams:
    """Parameters of PDF.

    Parameters
    ----------
    margin_mm : float
        Sources fill the volume around the mask up to this distance at least.
    tolerance : float
        Relative residual at which the conjugate gradients stop.
    max_iterations : int
        Largest number of iterations.
    inner_to_outer : float
        Ratio of the prior standard deviation of sources inside the mask to that outside. With 0
        (PDF as published) whatever outer sources can explain is background; with a small
        positive number inner sources share in the fit and keep their field near the edge of the
        mask.
    harmonic_start : bool
        First subtract the harmonic function with the field's values on the surface of the mask,
        which outer sources can explain anyway: what is left is small, so that few iterations
        are enough.
    screening_mm : float
        Of the harmonic start, as in `LbvParams`; 0 for none. Without it the phase of the receive
        coils, which is smooth but not harmonic, is taken for the field of inner sources.
    block_mm : float
        Sources are the same in pairs of voxels along each axis, unless such a pair is longer than
        this. 0 for sources in single voxels, which fields that are steep at the surface need.
    """

    margin_mm: float = 12.0
    tolerance: float = 1e-3
    max_iterations: int = 100
    inner_to_outer: float = 0.015
    harmonic_start: bool = False
    screening_mm: float = 0.0
    block_mm: float = 0.0

    def __post_init__(self) -> None:
        if not self.margin_mm >= 0 or not self.tolerance > 0 or not self.inner_to_outer >= 0:
            raise ValueError(
                f"Expected margin_mm >= 0, tolerance > 0 and inner_to_outer >= 0, got {self}"
            )
        if not self.screening_mm >= 0 or not self.block_mm >= 0:
            raise ValueError(f"Expected screening_mm >= 0 and block_mm >= 0, got {self}")


@dataclass(frozen=True)
class LbvPdfParams(PdfParams):
    """Parameters of PDF with inner sources after LBV; see `PdfParams`.

    What LBV leaves is mostly local and small at the surface, so that fewer iterations and coarser
    sources are enough than for PDF alone.
    """

    tolerance: float = 1e-2
    max_iterations: int = 50
    inner_to_outer: float = 0.1
    harmonic_start: bool = True
    block_mm: float = 3.0


@dataclass(frozen=True)
class SharpParams:
    """Parameters of SHARP.

    Parameters
    ----------
    radius_mm : float
        Radius of the ball; the mask is eroded by it.
    threshold : float
        Spatial frequencies at which ``|1 - S|`` is below this are not restored.
    """

    radius_mm: float = 6.0
    threshold: float = 0.05

    def __post_init__(self) -> None:
        if not self.radius_mm > 0 or not 0 < self.threshold < 1:
            raise ValueError(f"Expected radius_mm > 0 and 0 < threshold < 1, got {self}")


@dataclass(frozen=True)
class VSharpParams:
    """Parameters of V-SHARP.

    Parameters
    ----------
    max_radius_mm, min_radius_mm : float
        Largest and smallest ball; the mask is eroded by the smallest, which is at least the
        largest voxel edge.
    step_mm : float
        Difference between radii, at least the smallest voxel edge.
    threshold : float
        Spatial frequencies at which ``|1 - S|`` of the largest ball is below this are not
        restored.
    """

    max_radius_mm: float = 12.0
    min_radius_mm: float = 1.0
    step_mm: float = 1.0
    threshold: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.min_radius_mm <= self.max_radius_mm or not self.step_mm > 0:
            raise ValueError(f"Expected 0 < min_radius_mm <= max_radius_mm and a step, got {self}")
        if not 0 < self.threshold < 1:
            raise ValueError(f"Expected 0 < threshold < 1, got {self.threshold}")


@dataclass(frozen=True)
class ResharpParams:
    """Parameters of RESHARP.

    Parameters
    ----------
    radius_mm : float
        Radius of the ball; the mask is eroded by it.
    regularisation : float
        Weight of the norm of the local field.
    tolerance : float
        Relative residual at which the conjugate gradients stop; the low spatial frequencies of
        the local field, which the filter weakens most, come last.
    max_iterations : int
        Largest number of iterations.
    """

    radius_mm: float = 6.0
    regularisation: float = 1e-4
    tolerance: float = 1e-4
    max_iterations: int = 200

    def __post_init__(self) -> None:
        if not self.radius_mm > 0 or not self.regularisation >= 0:
            raise ValueError(f"Expected radius_mm > 0 and regularisation >= 0, got {self}")


@dataclass(frozen=True)
class IsmvParams:
    """Parameters of iSMV.

    Parameters
    ----------
    radius_mm : float
        Radius of the ball; the mask is eroded by it.
    tolerance : float
        Largest relative change of the background per iteration at the end.
    max_iterations : int
        Largest number of iterations.
    """

    radius_mm: float = 5.0
    tolerance: float = 1e-4
    max_iterations: int = 100

    def __post_init__(self) -> None:
        if not self.radius_mm > 0 or not self.tolerance > 0:
            raise ValueError(f"Expected radius_mm > 0 and tolerance > 0, got {self}")
